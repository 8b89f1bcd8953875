// Package mapfault keeps a process alive that writes through memory mappings of
// files which the disk has no room for.
//
// Where a file is mapped and a page of it cannot be backed, because the disk is
// full or fails, the kernel sends SIGBUS, and Go ends the process: in a goroutine
// of a library, there is nothing that a caller could recover. Badger maps sparse
// files and writes its logs and tables so.
//
// Survive takes the signal. It puts a page of plain memory where the file has
// none, and the instruction that failed is done again and succeeds. The process
// goes on with everything it has written; the file does not get the page. So
// whoever maps files has to look at Count: once it has changed, what lies in the
// files is not what was written to them, and they have to be made anew. A page
// that could not be read is one of zeros, which a checksum has to notice.
//
// Signals of other kinds, and where there is no memory, go where they went before.
package mapfault
