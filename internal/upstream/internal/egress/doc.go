// Package egress connects to the hosts of an upstream, and to no others: what an
// upstream supplies leads to public addresses, to the address and port of the
// connection that it came over, and to those that the operator allows. The dialer checks
// the address that it is about to connect to, so no spelling and no DNS answer gets
// around it. Where an HTTP proxy resolves, names are all there is to check.
package egress
