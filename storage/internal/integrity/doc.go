// Package integrity finds out whether blobs are what their digests say. One walker reads
// and judges them, whoever asks: the scrub, which reads everything over a month; doubt
// after a crash; a check by command; or a client that wants a blob in doubt. What fails
// goes to quarantine. The index is known through the interface Records only.
package integrity
