// Package unit is Piccolo as a systemd service on this machine: it knows
// whether systemd is there, holds piccolo.service, and installs, starts, stops
// and removes it over D-Bus.
//
// The service file is the same for everybody, byte for byte the one that a
// release ships. What differs on one machine (another data directory, another
// path of the program) goes into the configuration file and, where systemd
// itself has to know it, into a drop-in beside the service file, which a later
// release never overwrites.
//
// Only package cli uses it.
package unit
