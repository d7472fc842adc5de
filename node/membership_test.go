package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"piccolo.io/piccolo/node"
	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/nodetest"
	"piccolo.io/piccolo/topology"
)

func TestRemoved(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 3)
	sub := c.Node(1)
	_, err := c.Master().API().RemoveNode(bounded(t), "sub-1")
	ok(t, err)
	nodetest.Eventually(t, nodetest.Patience, "the record goes", func() error {
		var e *api.Error
		if n, err := c.Record(sub); !errors.As(err, &e) || e.Kind != api.KindNotFound {
			return fmt.Errorf("%s, %w", n.Status, err)
		}
		return nil
	})
	const reason = "sub-1 was removed by root on the master"
	waitMode(t, sub, "Removed", reason)
	sub.Restart()
	waitMode(t, sub, "Removed", reason)
	ok(t, sub.Stop())
	lost := c.Node(2)
	_, err = c.Master().API().RemoveNode(bounded(t), "sub-2")
	ok(t, err)
	waitMode(t, lost, "Removed", "sub-2 was removed")
	ok(t, lost.API().Leave(bounded(t)))
	if err := node.Member(lost.Options); !errors.Is(err, node.ErrNotMember) {
		t.Errorf("a removed node that leaves: %v", err)
	}
	// It comes back with its old identity, then with a new one.
	if _, err := node.Join(bounded(t), c.JoinOptions(sub)); err != nil {
		t.Errorf("join with the old identity is told: %v", err) // it belongs to that cluster already, by its own files
	}
	ok(t, node.Reset(bounded(t), sub.Options))
	res, err := node.Join(bounded(t), c.JoinOptions(sub))
	if err != nil || res.NodeID == sub.ID || res.Already {
		t.Fatalf("after the reset: %+v, %v", res, err)
	}
	sub.ID = res.NodeID
	sub.Start()
	c.WaitStatus(sub, topology.StatusReady)
	var e *api.Error
	if _, err := c.Master().API().RemoveNode(bounded(t), "main"); !errors.As(err, &e) || e.Kind != api.KindConflict {
		t.Errorf("the master was removed: %v", err)
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 2)
	sub := c.Node(1)
	var e *api.Error
	if err := c.Master().API().Leave(bounded(t)); !errors.As(err, &e) || e.Kind != api.KindConflict || !strings.Contains(e.Message, "piccolo reset") {
		t.Errorf("the only master leaves: %v", err)
	}
	ok(t, os.WriteFile(sub.Options.DataDir+"/note.txt", []byte("mine"), 0o600))
	ok(t, sub.API().Leave(bounded(t)))
	if err := node.Member(sub.Options); !errors.Is(err, node.ErrNotMember) {
		t.Errorf("when leave has answered: %v", err)
	}
	select {
	case <-sub.Ended():
	case <-time.After(nodetest.Patience):
		t.Fatal("the daemon goes on")
	}
	ok(t, sub.Err())
	if _, err := c.Record(sub); !errors.As(err, &e) || e.Kind != api.KindNotFound {
		t.Errorf("the master still knows it: %v", err)
	}
	left := tree(t, sub.Options.DataDir)
	delete(left, "lock")
	if len(left) != 1 || !strings.HasSuffix(left["note.txt"], "mine") {
		t.Errorf("what is left: %v", left)
	}
	ok(t, sub.Stop())
	if err := node.Run(bounded(t), sub.Options); !errors.Is(err, node.ErrNotMember) {
		t.Errorf("run afterwards: %v", err)
	}
	ok(t, os.Remove(sub.Options.DataDir+"/note.txt"))
	// Join waits for a daemon that is still stopping.
	res, err := node.Join(bounded(t), c.JoinOptions(sub))
	if err != nil || res.Already {
		t.Fatalf("join anew: %+v, %v", res, err)
	}
	sub.ID = res.NodeID
	sub.Start()
	c.WaitStatus(sub, topology.StatusReady)
	old := sub.ID
	ok(t, sub.API().Leave(bounded(t)))
	res, err = node.Join(bounded(t), c.JoinOptions(sub))
	if err != nil || res.Already || res.NodeID == old {
		t.Errorf("leave and join at once: %+v, %v", res, err)
	}
	ok(t, node.Member(sub.Options))
	// Where the daemon is gone, others are not lost.
	c.WaitStatus(c.Master(), topology.StatusReady)
}

func TestApproval(t *testing.T) {
	t.Parallel()
	c := nodetest.New(t, 1)
	h := c.Master().API()
	topo, err := h.Topology(bounded(t))
	ok(t, err)
	topo.Value.Config.Approval = topology.ApprovalManual
	_, err = h.PutTopology(bounded(t), topo.Value)
	ok(t, err)
	ask := func(name string) (*nodetest.Node, <-chan error) {
		n := c.Prepare(name)
		ended := make(chan error, 1)
		ctx := bounded(t)
		go func() {
			res, err := node.Join(ctx, c.JoinOptions(n))
			n.ID = res.NodeID
			ended <- err
		}()
		nodetest.Eventually(t, nodetest.Patience, name+" waits", func() error {
			got, err := h.Node(ctx, name)
			if err == nil && got.Value.Status != topology.StatusPending {
				err = fmt.Errorf("it is %s", got.Value.Status)
			}
			return err
		})
		return n, ended
	}
	wait := func(ended <-chan error) error {
		select {
		case err := <-ended:
			return err
		case <-time.After(nodetest.Patience):
			t.Fatal("join does not end")
			return nil
		}
	}
	good, ended := ask("good")
	_, err = h.PatchNode(bounded(t), "good", api.NodePatch{Status: ptr(topology.StatusInitializing)})
	ok(t, err)
	ok(t, wait(ended))
	good.Start()
	c.WaitStatus(good, topology.StatusReady)

	bad, ended := ask("bad")
	_, err = h.RemoveNode(bounded(t), "bad")
	ok(t, err)
	if err := wait(ended); !errors.Is(err, topology.ErrRemoved) || !strings.Contains(err.Error(), "rejected by") {
		t.Errorf("rejected: %v", err)
	}
	if left := tree(t, bad.Options.DataDir); len(left) > 0 {
		t.Errorf("it left behind %v", left)
	}

	// Who gives up waiting keeps the key, and goes on with it.
	tired := c.Prepare("tired")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, err := node.Join(ctx, c.JoinOptions(tired)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "approval") {
		t.Errorf("given up: %v", err)
	}
	left := tree(t, tired.Options.DataDir)
	if delete(left, "lock"); len(left) != 1 || left["node.key"] == "" {
		t.Errorf("it left behind %v", left)
	}
	waits, err := h.Node(bounded(t), "tired")
	ok(t, err)
	if r := waits.Value.Resources; r.CPU == 0 || r.Memory == 0 || r.Disk == 0 {
		t.Errorf("it asked without its resources: %+v", r)
	}
	// Again, and the master restarts while it waits.
	again, rejoined := bounded(t), make(chan error, 1)
	asked := make(chan bool, 10)
	o := c.JoinOptions(tired)
	o.Progress = func(_ string, patient bool) {
		if patient {
			asked <- true
		}
	}
	go func() {
		res, err := node.Join(again, o)
		tired.ID = res.NodeID
		rejoined <- err
	}()
	select {
	case <-asked:
	case err := <-rejoined:
		t.Fatalf("join again: %v", err)
	}
	c.Master().Restart()
	_, err = h.PatchNode(bounded(t), "tired", api.NodePatch{Status: ptr(topology.StatusInitializing)})
	ok(t, err)
	ok(t, wait(rejoined))
	if tired.ID != waits.Value.ID {
		t.Errorf("it was %s and became %s", waits.Value.ID, tired.ID)
	}
	tired.Start()
	c.WaitStatus(tired, topology.StatusReady)

	// A key that the cluster has put out meanwhile is of no use any more.
	outcast := c.Prepare("outcast")
	ctx, cancel = context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err = node.Join(ctx, c.JoinOptions(outcast))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
	_, err = h.RemoveNode(bounded(t), "outcast")
	ok(t, err)
	var e *api.Error
	if _, err := node.Join(bounded(t), c.JoinOptions(outcast)); !errors.Is(err, topology.ErrRemoved) || !errors.As(err, &e) || !strings.Contains(e.Message, "rejected by") || !strings.Contains(e.Hint, "new node") {
		t.Errorf("join with a rejected key: %v", err)
	}
	left = tree(t, outcast.Options.DataDir)
	if delete(left, "lock"); len(left) > 0 {
		t.Errorf("it left behind %v", left)
	}
}

func TestFailedInitLeavesNoDirectory(t *testing.T) {
	t.Parallel()
	o := machine(t)
	o.PodmanSocket = "/nowhere/podman.sock"
	if _, err := node.Init(bounded(t), o); !errors.Is(err, node.ErrNotReady) {
		t.Errorf("init without Podman: %v", err)
	}
	if _, err := os.Stat(o.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it left behind %v, %v", tree(t, o.DataDir), err)
	}
}
