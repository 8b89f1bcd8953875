// Package mirror is the pull-through policy: what is answered from where, and
// who may have it. It stands between the wire (package registry) and what it
// answers from (package storage, and one Remote per upstream).
//
// # Who owns what
//
// A fill (package fill) is one download of one blob; how it goes on is its own matter,
// and what is begun, joined and remembered is decided here (sharedFill).
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
//     within a scope whose upstream has shown to have it: with the GET that brought
//     it in or, where the same upstream has delivered it to another scope, with one
//     HEAD. Where another upstream has, it is shown by the bytes: by all of them, or of
//     a large blob by random ranges. What an isolated upstream has delivered, another one
//     delivers once more, as on an empty cache. That a manifest or a tag of the scope
//     names a digest, or that the upstream says that it has it, proves nothing.
//   - A link is proven once bytes were verified, and by no fill that fails.
//   - A digest that is proven and stored costs no upstream contact.
//   - What a manifest or a HEAD tells of a size is a hint. Where it and what the
//     upstream announces contradict each other, the announced size counts, and
//     nothing is released before the whole blob is verified. Where it and a
//     stored file do, the file is read: its bytes decide. Where the upstream
//     announces none, or takes long to, the hint has to do for those who were told
//     it: if it is wrong, they get no clean end.
//   - A digest is filled once at a time from one upstream, whatever the number of
//     readers, by one GET or by several of disjoint ranges. Who asks another upstream
//     waits for none of that: the first whose bytes are verified comes into the store.
//   - What no client waits for, such as blobs of an image ahead of the requests, makes
//     room for what one waits for. A refusal that it provokes or gets is nobody's
//     answer.
//   - Nobody gets the last 64 KiB of a blob, nor any byte of one of up to 1 MiB,
//     before size and digest were found right. So what ends cleanly is right if it is
//     the whole, or reaches into that end. A reader's io.EOF means that the blob was
//     verified.
//   - Another range of a blob that is being filled comes as soon as its bytes are
//     there, which may turn out to be wrong. Whoever answers with one asks the reader
//     (oci.Filling): the answer says that it is unverified, or, with VerifyRanges, ends
//     only once the blob is verified.
//   - A failing store fails no request for a whole blob, except for one whose size is not
//     certain and which there is no place to find out for. Where the store takes no
//     bytes, readers go on from what is stored, each with the hash of that, and are
//     verified as ever. A reader that begins after that, or ends before the blob does,
//     has nothing to be verified with: it gets oci.ErrPasses, and the answer is the
//     whole, or is cut off.
//   - A tag list, and a list of referrers, is whole or an error. Clients page through a
//     list that the Cache holds, as one walk through the upstream's pages brings it;
//     nothing that a client sends as its place goes upstream.
//   - Of an answer that follows a fill, "stored" tells the intention: there is a
//     place for the bytes. It is never said of what passes through.
package mirror
