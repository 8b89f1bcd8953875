package imagelist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// MaxSize is the longest list in bytes.
	MaxSize = 64 << 20
	// maxErrors is how many errors of one list are reported.
	maxErrors = 10
	// maxImages is how many images a list may have.
	maxImages = 1 << 17
	// maxNodes is how many fields of JSON may have to be kept until the images are known,
	// and maxMarks how many entries a document of YAML may have, which keeps all of them.
	// Each takes some 200 to 400 bytes of memory.
	maxNodes = 1 << 19
	maxMarks = 1 << 20
)

// Read reads a list, which is called name in errors ("images.txt"). Each image is
// in the result once, in the order of the list.
//
// If its first line that is neither blank nor a comment (#) is the beginning of a
// YAML or JSON document, the images are those of image fields, of image volumes,
// of kubeadm's list and of plain sequences; what Kubernetes itself reports in the
// status of an object, and definitions of custom resources, do not count.
// Otherwise each line is one reference, and # begins a comment there too.
//
// A list with an entry that is no reference is refused as a whole; the error names
// the line.
func Read(name string, r io.Reader) ([]Image, error) { return read(name, r, MaxSize) }

func read(name string, r io.Reader, limit int64) ([]Image, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes: that is no list of images", name, limit)
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	l := list{name: name, known: map[Image]bool{}}
	if structured(raw) {
		l.documents(raw)
	} else {
		n := 0
		for line := range bytes.Lines(raw) {
			n++
			if text := uncommented(string(line)); text != "" {
				l.add(n, text)
			}
		}
	}
	if l.unreported > 0 {
		l.errs = append(l.errs, fmt.Errorf("%s: and %d more", name, l.unreported))
	}
	return l.images, errors.Join(l.errs...)
}

// list is one that is being read.
type list struct {
	name       string
	images     []Image
	known      map[Image]bool
	errs       []error
	unreported int // errors beside these
}

// add adds the image of a line.
func (l *list) add(line int, text string) {
	i, err := Parse(text)
	if err != nil {
		l.fail(line, err)
		return
	}
	switch {
	case l.known[i]:
	case len(l.images) == maxImages:
		l.fail(line, fmt.Errorf("there are more than %d images", maxImages))
	default:
		l.known[i] = true
		l.images = append(l.images, i)
	}
}

func (l *list) fail(line int, err error) {
	if len(l.errs) == maxErrors {
		l.unreported++
		return
	}
	l.errs = append(l.errs, fmt.Errorf("%s, line %d: %w", l.name, line, err))
}

// structured reports whether the list is YAML, of which JSON is a part. No
// reference looks like the first line of that.
func structured(raw []byte) bool {
	for line := range bytes.Lines(raw) {
		text := uncommented(string(line))
		if text == "" {
			continue
		}
		return strings.HasPrefix(text, "---") || strings.HasPrefix(text, "- ") || text == "-" ||
			strings.ContainsRune("{[%", rune(text[0])) ||
			strings.Contains(text, ": ") || strings.Contains(text, ":\t") || strings.HasSuffix(text, ":")
	}
	return false
}

// uncommented returns a line without white space around it and without a comment.
func uncommented(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return strings.TrimSpace(line)
}
