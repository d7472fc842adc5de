// Package client is the other end of both APIs: Agent is a node's connection
// to a master over gRPC, and HTTP is what commands use over REST, through the
// local socket or to a master.
//
// Errors of the other side come back as those of package api.
package client
