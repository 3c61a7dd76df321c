package config

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/headrace/headrace/internal/model"
)

// EnvironmentPrefix begins the names of variables; the rest is the setting's name in capitals, with
// _ for -.
const EnvironmentPrefix = "HEADRACE_"

// Sources are where settings come from.
type Sources struct {
	// File is the path of the YAML file; empty means none.
	File string
	// Environment holds "NAME=value", as os.Environ gives it.
	Environment []string
	// Flags holds the flags that were given, by name.
	Flags map[string]string
}

// Loaded is a Config together with where each setting came from.
type Loaded struct {
	Config Config

	values, origins map[string]string
}

// Load reads the settings. The error names every fault, each with its setting and where it was set.
func Load(sources Sources) (Loaded, error) {
	loaded := Loaded{values: map[string]string{}, origins: map[string]string{}}
	for _, setting := range Settings() {
		loaded.values[setting.Name], loaded.origins[setting.Name] = setting.Default, "default"
	}
	var faults []error
	if sources.File != "" {
		layer := koanf.New(".")
		if err := layer.Load(file.Provider(sources.File), yaml.Parser()); err != nil {
			return Loaded{}, fmt.Errorf("reading the settings in %s: %w", sources.File, err)
		}
		faults = append(faults, loaded.merge(layer, sources.File, true)...)
	}
	environment := koanf.New(".")
	provider := env.Provider(".", env.Opt{
		Prefix: EnvironmentPrefix, EnvironFunc: func() []string { return sources.Environment },
		TransformFunc: func(name, value string) (string, any) { return settingOf(name), value },
	})
	if err := environment.Load(provider, nil); err != nil {
		return Loaded{}, fmt.Errorf("reading the settings in the environment: %w", err)
	}
	faults = append(faults, loaded.merge(environment, "environment", false)...)
	flags, given := koanf.New("."), map[string]any{}
	for name, value := range sources.Flags {
		given[name] = value
	}
	if err := flags.Load(confmap.Provider(given, "."), nil); err != nil {
		return Loaded{}, fmt.Errorf("reading the settings in the flags: %w", err)
	}
	faults = append(faults, loaded.merge(flags, "flag", true)...)
	faults = append(faults, loaded.read()...)
	if len(faults) == 0 {
		faults = loaded.Config.validate()
	}
	if len(faults) > 0 {
		return Loaded{}, fmt.Errorf("settings: %w", errors.Join(faults...))
	}
	return loaded, nil
}

// settingOf gives the setting that a variable of the environment sets.
func settingOf(variable string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(variable, EnvironmentPrefix)), "_", "-")
}

// merge lays the values of one source over those of the sources before it.
func (l *Loaded) merge(layer *koanf.Koanf, origin string, strict bool) []error {
	var faults []error
	for name, value := range layer.Raw() {
		if _, known := l.values[name]; !known {
			if strict {
				faults = append(faults, unknownSetting(name, origin))
			}
			continue
		}
		switch value.(type) {
		case string, bool, int, int64, uint64, float64:
			l.values[name], l.origins[name] = fmt.Sprint(value), origin
		case nil:
			l.values[name], l.origins[name] = "", origin
		default:
			faults = append(faults, fmt.Errorf("%s (%s): got several values, want one", name, origin))
		}
	}
	return faults
}

func unknownSetting(name, origin string) error {
	var known []string
	for _, setting := range Settings() {
		known = append(known, setting.Name)
	}
	if near := model.Nearest(name, known); near != "" {
		return fmt.Errorf("%s (%s): there is no such setting; did you mean %s?", name, origin, near)
	}
	return fmt.Errorf("%s (%s): there is no such setting; there are %s", name, origin, strings.Join(known, ", "))
}

// read fills Config from the values.
func (l *Loaded) read() []error {
	var faults []error
	for _, setting := range Settings() {
		if err := setting.read(&l.Config, l.values[setting.Name]); err != nil {
			faults = append(faults, fmt.Errorf("%s (%s): %w", setting.Name, l.origins[setting.Name], err))
		}
	}
	return faults
}

// Print writes the settings as a file that Load reads, with where each came from in a comment. No
// setting is a secret: keys and tokens are in files of their own, of which only the paths are shown.
func (l Loaded) Print(out io.Writer) error {
	for _, setting := range Settings() {
		value, err := yaml.Parser().Marshal(map[string]any{setting.Name: typed(l.values[setting.Name])})
		if err != nil {
			return fmt.Errorf("printing the setting %s: %w", setting.Name, err)
		}
		line := strings.TrimSuffix(string(value), "\n")
		if _, err := fmt.Fprintf(out, "%-40s # %s\n", line, l.origins[setting.Name]); err != nil {
			return err
		}
	}
	return nil
}

// typed gives words that YAML has as a type of their own without quotes.
func typed(value string) any {
	switch value {
	case "true":
		return true
	case "false":
		return false
	}
	return value
}
