package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"piccolo.io/piccolo/store"
	"piccolo.io/piccolo/store/storetest"
)

// BenchmarkSnapshot is the cost of a snapshot on the shelf, and of a restore, of
// a cluster of ten nodes and of one at the limit of what is sensible.
func BenchmarkSnapshot(b *testing.B) {
	for _, records := range []int{300, 10_000} {
		opts := storetest.Options(b)
		m, stop := storetest.Start(b, opts)
		for i := range records {
			must[int64](b)(fruits(m).Create(bg(), fmt.Sprint("k", i), fruit{strings.Repeat("x", 1000), i}))
		}
		shelf := newShelf(b, store.ShelfOptions{Sealer: opts.Sealer, Keep: 2})
		var taken store.Shelved
		b.Run(fmt.Sprintf("save/%d", records), func(b *testing.B) {
			for b.Loop() {
				taken = must[store.Shelved](b)(shelf.Save(bg(), m))
			}
			b.ReportMetric(float64(taken.Bytes), "bytes")
		})
		stop()
		b.Run(fmt.Sprintf("verify/%d", records), func(b *testing.B) {
			for b.Loop() {
				must[store.SnapshotInfo](b)(store.VerifySnapshot(bg(), taken.Path, opts.Sealer))
			}
		})
		b.Run(fmt.Sprintf("restore/%d", records), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				opts.Dir = filepath.Join(b.TempDir(), fmt.Sprint(i))
				must[store.Restored](b)(store.Restore(bg(), store.RestoreFrom{Snapshot: taken.Path}, opts))
			}
		})
	}
}
