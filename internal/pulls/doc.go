// Package pulls groups the requests of the pull API into pulls of images, and tells of
// each how long it took, where that time went, and where its bytes came from.
//
// A client that pulls an image asks for its manifest, perhaps for that of a platform, and
// then for the blobs that this names, several at a time. A pull is what one client (a
// user at an address) asks for of one repository from a request for a manifest on. It
// ends when all blobs were asked for and answered, or when the client has asked for
// nothing for a while: then it has the others already, or has left.
//
// Four events lead from one state to the next:
//
//	Begin, Header, Done   a request: it comes in, its answer begins, and ends
//	Fill                  a download of a blob: it waits, asks the upstream, and ends
//	Asked                 a request to an upstream was answered
//	sweep                 some time has passed
//
// All state has one lock, which is held for no longer than a look into some maps takes,
// and never across the store, the log or the network. Its size is bounded, whatever
// clients ask for; a pull that there is no room for is not seen.
package pulls
