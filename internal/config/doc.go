// Package config reads the settings of a server. Each setting has one name, as a flag "--tls-cert",
// in the file "tls-cert:", in the environment HEADRACE_TLS_CERT. A flag wins over the environment,
// that over the file, and that over the default.
//
// The file is YAML, one setting a line. A name in it that is not a setting is refused, since it is
// most likely a typing error; variables of the environment that are not settings are left alone,
// since others put theirs there too. Nothing is kept between calls.
package config
