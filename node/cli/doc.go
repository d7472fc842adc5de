// Package cli is the command line: it turns arguments, environment and the
// configuration file into one call of package node or of the API, and the
// answer into a table, JSON or YAML.
//
// stdout is the answer and stderr the talk. The exit code is the one that
// package api's table gives to the kind of the error. There is one file per
// noun; args.go puts the arguments in order before urfave/cli sees them,
// because that library stops looking for flags at the first argument.
//
// Only main uses it.
package cli
