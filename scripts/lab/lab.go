//go:build lab

package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Options say what kind of boards to start. The zero value is boards of this machine's system on a bridge.
type Options struct {
	Base   string // "host" (default), "bookworm" or "trixie"
	Switch string // "bridge" (default), or "tap", which can delay
	DataMB int    // size of the data disk, at least 16; default 2048
}

func (o Options) args() []string {
	var args []string
	if o.Base != "" {
		args = append(args, "--base", o.Base)
	}
	if o.Switch != "" {
		args = append(args, "--switch", o.Switch)
	}
	if o.DataMB != 0 {
		args = append(args, "--data-mb", strconv.Itoa(o.DataMB))
	}
	return args
}

// Lab is a lab of one test. Unless said otherwise a method that fails ends the test.
type Lab struct {
	Script
	t      testing.TB
	boards []*Board
}

// Board is one host of a lab, called board1, board2, and so on.
type Board struct {
	Name string
	lab  *Lab
}

// owner is whose labs those of tests are.
const owner = "test"

var labs atomic.Int64

// Up starts a lab that ends with the test. The piccolo binary of PICCOLO_BIN, or else bin/piccolo, is on its boards.
func Up(t testing.TB, boards int, o Options) *Lab {
	t.Helper()
	l := New(t)
	l.mustRun(append([]string{"up", strconv.Itoa(boards)}, o.args()...)...)
	for i := range boards {
		l.boards = append(l.boards, &Board{Name: fmt.Sprintf("board%d", i+1), lab: l})
	}
	return l
}

// New names a lab for the test without starting it; it ends with the test all the same.
func New(t testing.TB) *Lab {
	t.Helper()
	script, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if err := script.EndOrphans(t.Context(), owner); err != nil {
		t.Error(err)
	}
	l := &Lab{t: t, Script: script.Own(owner, labs.Add(1))}
	t.Cleanup(l.Down)
	return l
}

func (l *Lab) mustRun(args ...string) string {
	l.t.Helper()
	out, err := l.Run(l.t.Context(), nil, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// Down ends the lab; a second time it does nothing. A cleanup may call it: it outlives the test's context.
func (l *Lab) Down() {
	l.t.Helper()
	if _, err := l.Run(context.Background(), nil, "down"); err != nil {
		l.t.Error(err)
	}
}

// Board is board number n, from 1.
func (l *Lab) Board(n int) *Board { return l.boards[n-1] }

// Switch is the host of its own beside the boards, at 10.77.0.1, with this machine's files. Only its Exec methods work.
func (l *Lab) Switch() *Board { return &Board{Name: "switch", lab: l} }

// With is the same lab for a subtest: what fails there fails t. It still ends with the test that started it.
func (l *Lab) With(t testing.TB) *Lab {
	sub := &Lab{t: t, Script: l.Script}
	for _, b := range l.boards {
		sub.boards = append(sub.boards, &Board{Name: b.Name, lab: sub})
	}
	return sub
}

// Boards are all boards in their order.
func (l *Lab) Boards() []*Board { return l.boards }

// Add starts one more board.
func (l *Lab) Add(o Options) *Board {
	l.t.Helper()
	b := &Board{Name: strings.TrimSpace(l.mustRun(append([]string{"add"}, o.args()...)...)), lab: l}
	l.boards = append(l.boards, b)
	return b
}

// Cut lets no packet pass between two boards.
func (l *Lab) Cut(a, b *Board) {
	l.t.Helper()
	l.mustRun("cut", a.Name, b.Name)
}

// CutOneWay lets no packet pass from one board to the other.
func (l *Lab) CutOneWay(from, to *Board) {
	l.t.Helper()
	l.mustRun("cut", from.Name, to.Name, "--one-way")
}

// Heal ends every cut, loss and delay.
func (l *Lab) Heal() {
	l.t.Helper()
	l.mustRun("heal")
}
