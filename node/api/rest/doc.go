// Package rest serves Piccolo's API over HTTP: JSON in snake_case, problem
// documents for errors (RFC 9457), a watch stream of server-sent events, and
// the OpenAPI document that describes all of it.
//
// A Handler translates between HTTP and package api and decides nothing
// itself but who asks. A Server is the one TLS port that carries REST and
// gRPC, and the socket for root on the machine; it holds the bounds that keep
// a board alive whatever talks to it. Only package node uses this package.
//
// There are no cookies: a request is believed for a client certificate, a
// bearer token or the socket that it came through, so that a web page in
// somebody's browser can do nothing.
package rest
