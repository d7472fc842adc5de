//go:build !arm

package node

// armVariant is empty on anything but 32-bit ARM.
func armVariant() string { return "" }
