// Package oci is the vocabulary that the wire, the policy, the upstream client
// and the store share: scopes, references, digests, manifests, errors, and how
// a request was answered. It does no I/O and keeps no state.
//
// Every name, tag and digest that enters the program is checked here, against
// the grammar of the OCI distribution and image specs, before a path, a key or
// a URL is built from it.
package oci
