// Package integration has no code, only tests behind the build tag integration:
// they drive the pullgate binary with the clients and the registries that
// people use, as Debian 12 ships them, and count what reached the upstream.
//
// The tests need root (containerd and dockerd do) and the packages that
// "make integration" names. Everything runs on 127.0.0.1 and in temporary
// folders, nothing under /etc is read or written for a test, and every process
// that a test starts is ended by that test.
//
// PULLGATE_BINARY names a binary to test in place of one built from the
// checkout.
package integration
