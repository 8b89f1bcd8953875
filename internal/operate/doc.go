// Package operate has the verbs by which people look after a gateway: what is
// stored, check and mend it, bring images in and carry them out.
//
// Each verb is a request, lines of progress while it lasts, and a report. [Gateway]
// has them all. [Local] does the work on stores that this process has open; [Client]
// asks a server for it, over its admin API, which passes the same requests and lines
// on as query parameters and JSON lines. So whoever uses a Gateway need not know
// which of the two it has.
package operate
