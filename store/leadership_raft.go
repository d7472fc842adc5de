package store

import (
	"fmt"
	"reflect"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// raftOf is the raft node of a running etcd. etcd keeps it to itself: what it
// tells of leadership comes without the loss of a leader, and what it knows of the
// other members' progress it tells nobody. Only Status and TransferLeadership are
// called, which take no lock of etcd's.
func raftOf(s *etcdserver.EtcdServer) (raft.Node, error) {
	field := reflect.ValueOf(s).Elem().FieldByName("r")
	if field.IsValid() {
		field = field.FieldByName("Node")
	}
	if !field.IsValid() || field.Type() != reflect.TypeFor[raft.Node]() {
		return nil, fmt.Errorf("this version of etcd keeps its raft node elsewhere than in EtcdServer.r.Node")
	}
	return *(*raft.Node)(field.Addr().UnsafePointer()), nil
}

// raftEar is a log that calls heard whenever raft says anything. raft does so at
// every change of its state, and while nothing changes it is silent. What it says
// does not matter: who hears it looks at the state itself.
type raftEar struct{ heard func() }

// withEar adds the ear to etcd's logger.
func withEar(lg *zap.Logger, heard func()) *zap.Logger {
	return lg.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewTee(c, raftEar{heard})
	}))
}

// Enabled implements zapcore.LevelEnabler.
func (e raftEar) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

// With implements zapcore.Core.
func (e raftEar) With([]zapcore.Field) zapcore.Core { return e }

// Check implements zapcore.Core.
func (e raftEar) Check(entry zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Enabled(entry.Level) && strings.HasSuffix(entry.LoggerName, "raft") {
		return ce.AddCore(entry, e)
	}
	return ce
}

// Write implements zapcore.Core.
func (e raftEar) Write(zapcore.Entry, []zapcore.Field) error {
	e.heard()
	return nil
}

// Sync implements zapcore.Core.
func (e raftEar) Sync() error { return nil }
