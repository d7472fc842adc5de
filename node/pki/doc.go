// Package pki is the cluster's identity: its certificate authority, the keys
// and certificates of nodes, their renewal, the TLS configurations that every
// connection uses, and a clock that boards without a battery can rely on.
//
// A node is its key. The key is made on the node and never leaves it; the
// node's id is derived from it (NodeID), and the certificate says in a URI
// which cluster, which node and which role the key speaks for. Host names and
// addresses are never what a connection is trusted for, because they change.
//
// The package knows files, crypto/x509 and crypto/tls, and nothing of the
// network API, the store or the agent: node wires those to it. Anything under
// node/ may use it. DESIGN.md in this folder says why it is not simpler.
package pki
