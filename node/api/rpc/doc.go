// Package rpc serves piccolo.v1.NodeAgentService: it translates between the
// wire and api.Service and decides nothing itself.
package rpc
