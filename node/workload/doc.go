// Package workload holds what masters and nodes tell each other about work:
// the Plan that masters own, the Report that nodes own, and the containers
// that both speak of. Apps, services and instances live here too.
//
// It is pure: no input or output, no goroutine, no library but topology.
package workload
