// Command licenses collects the licence texts of everything that is linked
// into a Go program: of every module that one of the program's packages comes
// from, and of Go itself.
//
//	licenses -tags remote,containers_image_openpgp -out DIR PACKAGE
//
// It asks `go list` for the packages, so GOOS, GOARCH and the tags must be
// those of the build. DIR gets one folder per module and a list of the modules
// with their versions. A module without a licence is an error: what may not be
// passed on must not reach a release.
package main
