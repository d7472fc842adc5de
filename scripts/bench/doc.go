// Command bench measures the promises of Piccolo's design on real boards of
// the lab (scripts/lab): the real binary, `piccolo init` and `piccolo join`,
// real Podman. It prints a table and writes bench.json; docs/benchmarks.md
// says what each figure means. Nothing here judges by a clock in a test: a
// promise that is not kept is a row that says "over".
package main
