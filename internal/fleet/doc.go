// Package fleet gives gateways a cache in common: a bucket, which each of them reads
// before it asks a registry, and writes what it has got there to; and other gateways, which
// they ask, so that one alone asks the registry.
//
//	the gateway's own store → the bucket → the owner among the gateways → the registry
//
// A Fleet stands on both sides of package mirror. Its Remote wraps that of an upstream,
// and answers from the bucket what that has. Its Records and Blobs wrap those of the
// store, and note what is recorded there, to upload it. So the policy stays what it is:
// it does not know that there is a bucket.
//
// # In the bucket, below v1/
//
//	b/<alg>/<hex>                       a blob
//	m/<alg>/<hex>                       a manifest; its Content-Type is the media type
//	l/<identity>/<repo>/_/<alg>-<hex>   proof that the upstream has it there; empty, meta size
//	t/<identity>/<repo>/_/<tag>         what a tag meant when it was last changed, as JSON
//	r/<identity>/<repo>/_/<alg>-<hex>   what refers to a digest, as JSON
//	x/<unix ms>-<rand>                  a purge: what was removed by name, as JSON
//	p/<hash>                            a pin, as JSON
//	news                                changes with each purge and pin
//	u/<unix hour>-<id>                  what a gateway has used in an hour: the first 8 bytes of digests
//	u/base                              the last use of each object: these 8 bytes, and 4 of the hour
//	report                              what the last cleaning has found and done, as JSON
//
// A # in an identity is a ~ there.
//
// # Invariants
//
//   - Bytes of the bucket are used in a scope only with a proof of that very scope, and a
//     proof is written only of what its upstream has shown to have, by the rules of package
//     mirror. Where proofs expire, the upstream must not refuse it now.
//   - What the bucket sends is verified as what an upstream sends. A wrong object costs one
//     answer at the most: it is not used again, removed, and replaced by the next upload.
//   - A tag of the bucket serves only while the upstream cannot be asked, and is never fresh.
//   - The bucket fails no request. What it does not answer in headerBudget is asked of the
//     upstream, and a bucket that fails is not asked until a probe finds it well. So it
//     need not be there when a gateway starts.
//   - What is cached and proven asks nobody.
//   - Nothing that was said before a purge is served after it, on any gateway that has seen
//     it, nor brought to the bucket: a proof there tells the last purge that it is newer
//     than, and who asks another gateway tells the last one that the answer has to be. When
//     its record goes, so has what is older.
//   - Another gateway's success proves a scope: it answers for the identity of an upstream
//     by the rules that its clients have. Its errors count where they are the upstream's own
//     word. Everything else is a reason to ask the next one, and then the upstream.
//   - What a tag means comes with its age, and is never fresh for longer than if the
//     upstream had been asked.
//   - Who asks whom has no cycle: a digest is asked of gateways that weigh more for it, a
//     tag of those that weigh more for the tag, and no tag is needed to answer a digest.
//   - Nothing rests on conditional writes: objects are named by their digests.
package fleet
