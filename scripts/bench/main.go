package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"piccolo.io/piccolo/scripts/lab"
)

// options are what the flags say.
type options struct {
	binary, json, markdown string
	// lab is the script that makes boards.
	lab lab.Script
	// only holds the groups to run, nodes the sizes of the clusters.
	only  []string
	nodes []int
	// runs of each join, fault and change; the restarts are half as many.
	runs int
	// settle is the time from the last join to the idle window.
	settle, window time.Duration
	// rest is how long the API is asked, at restRate.
	rest time.Duration
	// loss is how long packets are lost.
	loss time.Duration
}

// errNotMeasured ends the program with 1 after the table was written.
var errNotMeasured = errors.New("not everything could be measured")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	if err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string, talk io.Writer) (options, error) {
	var o options
	var only, nodes string
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(talk)
	f.StringVar(&o.binary, "binary", "bin/piccolo", "the piccolo to measure")
	f.StringVar(&o.json, "json", "", "write the figures with all samples to this file")
	f.StringVar(&o.markdown, "markdown", "", "replace the table in this page, between the lines "+beginMark+" and "+endMark)
	f.StringVar(&only, "only", "", "measure only these groups, joined by commas: "+strings.Join(groupNames(), ", "))
	f.StringVar(&nodes, "nodes", "3,10", "sizes of the clusters, 2 to 50; all but idle, rest and plan are measured in the first")
	f.IntVar(&o.runs, "runs", 20, "how often each join, fault and change is measured, 1 to 1000")
	f.DurationVar(&o.settle, "settle", 30*time.Second, "wait after the last join before the idle window")
	f.DurationVar(&o.window, "window", time.Minute, "length of the idle window")
	f.DurationVar(&o.rest, "rest", 20*time.Second, "how long the REST API is asked")
	f.DurationVar(&o.loss, "loss", 2*time.Minute, "how long packets are lost")
	f.BoolVar(&quick, "quick", false, "a look of two minutes: other defaults for runs, nodes and times")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	given := map[string]bool{}
	f.Visit(func(g *flag.Flag) { given[g.Name] = true })
	if quick {
		for name, value := range map[string]string{"runs": "3", "nodes": "3", "settle": "5s", "window": "10s", "rest": "4s", "loss": "10s"} {
			if given[name] {
				continue
			}
			if err := f.Set(name, value); err != nil {
				return o, err
			}
		}
	}
	return o, o.finish(only, nodes)
}

// finish reads the lists and checks everything.
func (o *options) finish(only, nodes string) error {
	o.only = groupNames()
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	for _, g := range o.only {
		if !slices.Contains(groupNames(), g) {
			return fmt.Errorf("-only: there is no group %q: use %s", g, strings.Join(groupNames(), ", "))
		}
	}
	for word := range strings.SplitSeq(nodes, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 2 || n > 50 {
			return fmt.Errorf("-nodes: %q is not a number from 2 to 50", word)
		}
		o.nodes = append(o.nodes, n)
	}
	switch {
	case o.runs < 1 || o.runs > 1000:
		return fmt.Errorf("-runs: %d is not 1 to 1000", o.runs)
	case o.settle < 0, o.window < time.Second, o.rest < time.Second, o.loss < time.Second:
		return errors.New("-window, -rest and -loss must be a second at least, and -settle not negative")
	}
	var err error
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return fmt.Errorf("-binary: %w", err)
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("-binary: %w (run make build)", err)
	}
	o.lab, err = lab.Find()
	return err
}

// run measures and writes. What was measured is written also when the rest
// failed or ctx ended.
func run(ctx context.Context, o options, answer, talk io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, as the lab does (try sudo)")
	}
	r := &report{Machine: machineFacts(ctx, o), Began: time.Now(), LoadBegin: loadAverage()}
	s := &session{o: o, report: r, talk: talk}
	failed := s.all(ctx)
	r.LoadEnd, r.Seconds = loadAverage(), time.Since(r.Began).Seconds()
	fmt.Fprintln(answer, r.text())
	if err := r.write(o); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: interrupted", errNotMeasured)
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d groups failed, see above", errNotMeasured, failed)
	}
	return nil
}
