// Package piccolov1 is the wire format of the conversation between agents and
// masters: the code generated from nodeagent.proto, and the conversions to
// and from the words of topology and workload. Nothing else in Piccolo
// touches the generated types.
package piccolov1
