// Package auth knows who may do what: principals, actions and the one table
// that joins them, and the tokens with which machines join and administrators
// come in.
//
// It is pure: no network, no store, no clock of its own. Records of tokens are
// plain structs that others keep; a secret leaves the package only as a hash,
// or through Reveal. Anything under node/ may use it.
package auth
