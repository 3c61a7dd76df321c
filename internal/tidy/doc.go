// Package tidy holds the tests that check the shape of the whole repository: what a linter cannot
// know about this project. It has no code of its own, keeps nothing and is imported by nobody.
//
// Rules, each with its name as faults show it:
//
//	file-length    a Go file has at most 500 lines, a test file 800
//	func-length    a function has at most 70 lines, one of a test file 100
//	complexity     1 + each if, for, case, && and ||; closures count to their function; at most 15,
//	               in a test file 25
//	nesting        if, for, switch and select lie at most 5 deep in one another
//	parameters     at most 5, a context.Context and a test's T, B, F or TB not counted
//	doc            exported names and the packages themselves have a comment
//	layer          a package imports only what layers allows it
//	restricted     an import or a call that only some packages may use
//	sleep          no test waits by time.Sleep
//	init           no func init
//	marker         no comment that postpones work
//	machine        no text names a path or a package registry of a developer's machine
//	exception      an exception that nothing needs any more
//
// A limit may only be lowered. What breaks one for a good reason is listed in exceptions, with the
// reason.
package tidy
