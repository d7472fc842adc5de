// Package rpctest is a master as an agent meets it: the real TLS port, gRPC
// and package api, over answers that a test decides on.
package rpctest
