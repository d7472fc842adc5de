// Package cache keeps a node's own small files, such as its newest plan, so that
// they survive a power cut at any moment and a card that loses bits.
//
// A [Cache] is one directory. [Save] replaces a value atomically and keeps the
// one before; it writes nothing if the value is the same. [Load] checks the
// newest and, if it is damaged, gives the one before and says so. Values are
// JSON under one line with a SHA-256, so a person can read them.
//
// The package knows neither etcd nor what it keeps. Every node's agent may use it.
package cache
