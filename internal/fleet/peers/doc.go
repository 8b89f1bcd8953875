// Package peers lets the gateways of a fleet know each other, and answer each other.
//
// A Group is one gateway's part in that: it finds the others, watches whether they live,
// asks them, and answers them at a listener of its own.
//
// # Who asks whom
//
// For each key, such as a digest, every gateway has a weight, which follows from its
// instance id alone. A gateway asks only those that live and have a greater weight than
// itself, the greatest first: that one owns the key, and alone asks the registry. So who
// asks whom has no cycle, however much the views of two gateways differ, and nobody holds
// a lease. A request names the instance that it is for, so that one which has begun anew,
// with another weight, refuses what was meant for its predecessor.
//
// # Who lives
//
// Addresses come from the configuration and from DNS, which only add: silence alone
// removes. Each is asked each second for its instance, which also tells a gateway which
// address is its own. Who has missed three answers is lost, and all that it is sending is
// cut. Who says that it is about to end is asked nothing more.
//
// # What is said
//
// Gateways speak the pull API, over TLS 1.3. Both ends show one key, which follows from
// the secret of the fleet, and accept no other. Headers tell what the API does not:
//
//	Pullgate-Instance   who is meant, or lives there
//	Pullgate-Version    what runs there, for people
//	Pullgate-Upstream   the identity of the upstream: who has another one of that name, by
//	                    other URLs or credentials, does not answer
//	Pullgate-Purge      the last purge that the answer has to be newer than: who has not
//	                    read of it does so first, or does not answer
//	Pullgate-Class      that an error is the upstream's own word, and which
//	Pullgate-Age        how long ago the upstream said what a tag means
//	Pullgate-Stale      that it could not be asked now
//
// Ages are durations, so that the clocks of two machines need not agree.
package peers
