// Package storetest runs real store members for the tests of other rooms.
// Nothing but tests may import it.
package storetest
