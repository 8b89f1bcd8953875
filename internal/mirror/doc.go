// Package mirror is the pull-through policy: what is answered from where, and
// who may have it. It stands between the wire (package registry) and what it
// answers from (package storage, and one Remote per upstream).
//
// # Who owns what
//
// A Cache belongs to one store and lives as long: it owns the running fills, the
// running look-ups and the memory of failures. Each of its goroutines hangs off
// the Cache, never off a request, so a client that leaves cancels nothing for
// others and a reload of the configuration cuts no download. Cache.Close ends
// and waits for all of them; fills are suspended and go on after a restart.
//
// A Mirror is the policy of one site: upstreams and access. It holds no state,
// and is dropped with the configuration that made it.
//
// # Invariants
//
//   - Access comes before any look at the cache. A cached digest is served only
//     within a scope that it is linked to, or once that scope's upstream has
//     confirmed it.
//   - A linked and stored digest costs no upstream contact.
//   - A digest is filled once at a time, whatever the number of readers, by one
//     GET or by several of disjoint ranges.
//   - Nobody gets the last 64 KiB of a blob, nor any byte of one of up to 1 MiB,
//     before size and digest were found right. A reader's io.EOF means that the
//     blob was verified.
//   - A failing store fails no request. There is one exception to the line
//     above: where the store takes no bytes, a reader that starts in the middle
//     of a large blob gets what the upstream sends, since the bytes before its
//     start are nowhere. Readers from the start are verified as ever.
package mirror
