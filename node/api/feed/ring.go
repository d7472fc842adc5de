package feed

// ring keeps the newest n values. Its memory grows with what is in it, up to
// n.
type ring[T any] struct {
	n     int
	items []T
	// next is where the next value goes once items is full.
	next int
}

func newRing[T any](n int) ring[T] { return ring[T]{n: n} }

func (r *ring[T]) len() int { return len(r.items) }

func (r *ring[T]) push(v T) {
	if len(r.items) < r.n {
		r.items = append(r.items, v)
		return
	}
	r.items[r.next] = v
	r.next = (r.next + 1) % r.n
}

// last returns a copy of the newest k values, oldest first; k is at most len.
func (r *ring[T]) last(k int) []T {
	out := make([]T, 0, k+1)
	for i := len(r.items) - k; i < len(r.items); i++ {
		out = append(out, r.items[(r.next+i)%len(r.items)])
	}
	return out
}
