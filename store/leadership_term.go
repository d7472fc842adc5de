package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// leaderKey is the record of who leads. It is written once in each term, by the
// leader, before it does anything else; every write compares its revision.
const (
	leaderKey  = root + "leader"
	leaderKind = "leader"
)

// leaderRecord is what lies at leaderKey.
type leaderRecord struct {
	// Cluster is etcd's. One that was restored from a snapshot counts its terms anew.
	Cluster string `json:"cluster"`
	Term    uint64 `json:"term"`
	Member  string `json:"member"`
}

// Term is one member's time as the leader. Lead makes it.
type Term struct {
	// Number is raft's: higher than that of every leader before.
	Number uint64
	fence  int64 // mod revision of the leader's record
}

// Fence makes a Commit fail with ErrDeposed, and write nothing, if this term is
// over. A Commit of nothing else asks whether it is.
func (t Term) Fence() Op {
	op := Op{key: leaderKey, verb: "fence", fence: t.fence}
	if t.fence == 0 {
		op.err = fmt.Errorf("a term that has not begun: %w", ErrInvalid)
	}
	return op
}

// WithTerm fences a single write of a Collection in the same way.
func WithTerm(t Term) WriteOption {
	return func(o *writeOptions) { o.term = &t }
}

// Lead calls work each time that this member has become the leader, with the new
// term. work's context ends as soon as the member knows that it leads no longer;
// Lead waits for work to return before it calls it again. Whatever work writes
// should carry the term (WithTerm, Term.Fence): a leader that was stalled does
// not know that it has been replaced.
//
// Lead returns nil when ctx ends, ErrClosed when the member stops, and otherwise
// the error that work has failed with. What a lost term does to work is no
// failure: ErrDeposed, or any error of the store or of its context after that has
// ended. If work returns nil early, it is called again in the next term only. A
// member has one Lead at a time; a second one is ErrInvalid.
func (m *Member) Lead(ctx context.Context, work func(ctx context.Context, term Term) error) error {
	if m.leading.Swap(true) {
		return fmt.Errorf("lead: a second time at once: %w", ErrInvalid)
	}
	defer m.leading.Store(false)
	for last := uint64(0); ; {
		v, changed := m.leads.get()
		if v.Self && v.Term != last && ctx.Err() == nil {
			last = v.Term
			if err := m.leadTerm(ctx, v, work); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-m.life.Done():
			return fmt.Errorf("lead: %w", ErrClosed)
		}
	}
}

// leadTerm returns work's failure, and nil if the term or parent has ended.
func (m *Member) leadTerm(parent context.Context, v leaderView, work func(context.Context, Term) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		cancel(m.untilOver(ctx, v))
	}()
	defer func() { cancel(nil); <-watched }()

	term, err := m.claim(ctx, v)
	if err == nil {
		err = work(ctx, term)
	}
	if err == nil || errors.Is(err, ErrDeposed) {
		return nil
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ErrNoQuorum) || errors.Is(err, ErrClosed)) {
		return nil
	}
	return err
}

// untilOver waits for the end of v's term, of the member, or of ctx, and says which.
func (m *Member) untilOver(ctx context.Context, v leaderView) error {
	for {
		now, changed := m.leads.get()
		if !now.same(v) {
			return fmt.Errorf("term %d: %w", v.Term, ErrDeposed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.life.Done():
			return ErrClosed
		}
	}
}

// claim writes the leader's record of this term. It tries until it is written,
// ctx ends, or a later term is found there (ErrDeposed).
func (m *Member) claim(ctx context.Context, v leaderView) (Term, error) {
	record := leaderRecord{Cluster: m.etcd.Server.Cluster().ID().String(), Term: v.Term, Member: m.opts.Name}
	data, err := encodeData(record)
	if err != nil {
		return Term{}, err
	}
	sealed, err := sealData(m.opts.Sealer, leaderKey, leaderKind, data)
	if err != nil {
		return Term{}, err
	}
	for ctx.Err() == nil {
		fence, err := m.tryClaim(ctx, record, sealed)
		if err == nil {
			return Term{Number: v.Term, fence: fence}, nil
		}
		if errors.Is(err, ErrDeposed) || errors.Is(err, ErrClosed) {
			return Term{}, err
		}
		if ctx.Err() == nil && !errors.Is(err, ErrConflict) {
			m.opts.Logger.Warn("this member was elected and cannot write it down yet; trying again", "term", v.Term, "err", err)
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
			pause.Stop()
		case <-pause.C:
		}
	}
	return Term{}, fmt.Errorf("claim term %d: %w", v.Term, context.Cause(ctx))
}

// tryClaim returns ErrConflict if the record has changed under its hands.
func (m *Member) tryClaim(ctx context.Context, mine leaderRecord, sealed []byte) (fence int64, err error) {
	resp, err := call(ctx, m, func(ctx context.Context, c *clientv3.Client) (*clientv3.GetResponse, error) {
		return c.Get(ctx, leaderKey)
	})
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", leaderKey, err)
	}
	var rev int64
	if len(resp.Kvs) > 0 {
		kv := resp.Kvs[0]
		if bytes.Equal(kv.Value, sealed) { // an earlier try has done it
			return kv.ModRevision, nil
		}
		// One that cannot be read is replaced: raft has elected this member.
		last, _, err := decodeRecord[leaderRecord](m.opts.Sealer, leaderKey, leaderKind, kv.Value)
		if err == nil && last.Cluster == mine.Cluster && (last.Term > mine.Term || last.Term == mine.Term && last.Member != mine.Member) {
			return 0, fmt.Errorf("claim term %d: %s leads in term %d: %w", mine.Term, last.Member, last.Term, ErrDeposed)
		}
		rev = kv.ModRevision
	}
	txn, err := call(ctx, m, func(ctx context.Context, c *clientv3.Client) (*clientv3.TxnResponse, error) {
		return c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(leaderKey), "=", rev)).Then(clientv3.OpPut(leaderKey, string(sealed))).Commit()
	})
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", leaderKey, err)
	}
	if !txn.Succeeded {
		return 0, fmt.Errorf("write %s: %w", leaderKey, ErrConflict)
	}
	m.noteHistory(txn.Header.Revision)
	return txn.Header.Revision, nil
}
