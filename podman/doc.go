// Package podman is the only room of Piccolo that knows the Podman bindings. It looks at the
// containers of one machine through Podman's API socket and turns what differs between Podman 4.x and
// 5.x into one shape.
//
// [New] makes an [Engine]; it touches nothing, so a node starts whether or not Podman does.
// [Engine.Watch] is the main way in: it keeps a picture of all containers and hands over a [Snapshot]
// whenever the picture, or Podman's own health, changes. [Engine.List], [Engine.Inspect],
// [Engine.Stats] and [Engine.Info] answer single questions.
//
// Every call has a deadline. Whatever makes Podman unusable (no socket, no answer, no permission, too
// old, something else on the socket) is an error that matches [ErrDown] and a more exact sentinel, and
// its text ends with what mends it.
//
// The room observes. Creating and starting containers belongs here too (files create.go, images.go,
// spec.go beside these) as soon as an agent has apps to run.
//
// Only node and node/agent may use this package; it imports no other room.
package podman
