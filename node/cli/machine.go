package cli

import (
	"context"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/readiness"
)

// machine is what package node does to this machine, as functions so that a
// test can stand in for each.
type machine struct {
	init  func(context.Context, node.InitOptions) (node.InitResult, error)
	join  func(context.Context, node.JoinOptions) (node.JoinResult, error)
	run   func(context.Context, node.Options) error
	reset func(context.Context, node.Options) error
	// traces reports whether a reset would find anything.
	traces func(node.Options) (bool, error)
	check  func(context.Context, node.Options, node.CheckOptions) (readiness.Report, []readiness.FixResult, error)
}

func thisMachine() machine {
	return machine{init: node.Init, join: node.Join, run: node.Run, reset: node.Reset, traces: node.Traces, check: node.Check}
}

// service is piccolo.service on this machine.
type service interface {
	Running(ctx context.Context) (bool, error)
	Install(ctx context.Context) error
	Start(ctx context.Context) error
	Disable(ctx context.Context) error
}
