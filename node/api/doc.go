// Package api holds every operation of Piccolo once: authorize, validate, do,
// audit. The adapters below it (rpc, rest) only translate, and this package
// alone decides what a person sees of an error.
//
// It never imports the packages agent and master: what it needs of them it
// declares as small interfaces, and package node wires them together.
package api
