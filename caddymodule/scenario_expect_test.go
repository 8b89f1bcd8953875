package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// String tells what was answered, for failures.
func (r *reply) String() string {
	body := r.body
	if len(body) > 300 || !strings.Contains(r.header.Get("Content-Type"), "json") {
		body = body[:min(len(body), 60)]
	}
	return fmt.Sprintf("%s -> %d, %d bytes in %s, error %v\n\theader %v\n\tbody %q",
		r.what, r.status, len(r.body), r.took.Round(time.Millisecond), r.err, r.header, body)
}

// expect <what>: of the last answer, or of all that were waited for. See README.md.
func (s *scenario) cmdExpect(args []string) {
	s.arg(args, 0)
	if len(s.last) == 0 {
		s.fatalf("nobody has asked for anything")
	}
	total := map[int]int{}
	for _, r := range s.last {
		total[r.status]++
		if args[0] != "cut" && args[0] != "failed" && args[0] != "tally" && r.err != nil && !r.mayCut {
			s.fatalf("the answer was cut\n\t%s", r)
		}
		if !r.sound() {
			s.fatalf("a clean end of the wrong bytes\n\t%s", r)
		}
		if args[0] == "tally" {
			continue
		}
		if wrong := s.compare(r, args); wrong != "" {
			s.fatalf("%s\n\t%s", wrong, r)
		}
	}
	if args[0] == "tally" { // tally <status>=<answers>...
		want := map[int]int{}
		for _, word := range args[1:] {
			status, n, _ := strings.Cut(word, "=")
			want[s.number(status)] = s.number(n)
		}
		if fmt.Sprint(total) != fmt.Sprint(want) {
			s.fatalf("got %v", total)
		}
	}
}

// compare returns what is wrong with an answer.
func (s *scenario) compare(r *reply, args []string) string {
	s.t.Helper()
	switch args[0] {
	case "header", "no":
		return s.compareHeader(r, args)
	case "body": // body <digest or text> [<from>-<to>]
		want := s.content(s.arg(args, 1))
		if len(args) > 2 {
			from, to, _ := strings.Cut(args[2], "-")
			want = want[s.size(from) : s.size(to)+1]
		}
		if !bytes.Equal(r.body, want) {
			return fmt.Sprintf("the body is not the %d bytes that it should be", len(want))
		}
	case "parts": // parts <digest> <from>-<to>...
		return s.compareParts(r, s.content(s.arg(args, 1)), args[2:])
	case "bytes": // bytes <number>[..<number>]
		from, to := s.span(s.arg(args, 1))
		if len(r.body) < from || len(r.body) > to {
			return fmt.Sprintf("%d bytes", len(r.body))
		}
	case "cut": // begun with 200 or 206, and cut before its end
		if r.err == nil || r.status/100 != 2 || strconv.Itoa(len(r.body)) == r.header.Get("Content-Length") {
			return "the answer was not cut"
		}
		r.mayCut = true // for what else is expected of it
	case "failed": // with 5xx, or cut where it was too late for that
		r.mayCut = true
		if r.err == nil && r.status < 500 {
			return "the answer is complete"
		}
	case "code", "detail":
		code, detail := r.document()
		if got := map[string]string{"code": code, "detail": detail}[args[0]]; got != s.arg(args, 1) {
			return fmt.Sprintf("%s is %q", args[0], got)
		}
	case "text": // text <regexp>: of the body
		if !s.regexp(s.arg(args, 1)).Match(r.body) {
			return "the body does not match"
		}
	case "lacks": // lacks <text>: in header and body
		if strings.Contains(fmt.Sprint(r.header)+string(r.body), s.arg(args, 1)) {
			return "it is there"
		}
	case "within": // within <duration>
		limit, err := time.ParseDuration(s.arg(args, 1))
		s.check(err)
		if r.took > limit {
			return fmt.Sprintf("it took %s", r.took.Round(time.Millisecond))
		}
	case "closed": // by the server
		if !r.closed {
			return "the connection is open"
		}
	case "digest": // of a manifest: header and body are of one content
		if d := digest.FromBytes(r.body); r.header.Get("Docker-Content-Digest") != d.String() {
			return "Docker-Content-Digest is not that of the body"
		}
	default:
		if want := strings.Split(args[0], "|"); !slices.Contains(want, strconv.Itoa(r.status)) {
			return fmt.Sprintf("status %d", r.status)
		}
	}
	return ""
}

// compareParts returns what is wrong with several ranges of a content, in this order.
func (s *scenario) compareParts(r *reply, of []byte, ranges []string) string {
	s.t.Helper()
	_, parameters, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	s.check(err)
	parts := multipart.NewReader(bytes.NewReader(r.body), parameters["boundary"])
	for _, want := range ranges {
		part, err := parts.NextRawPart()
		if err != nil {
			return fmt.Sprintf("there is no part %s: %v", want, err)
		}
		got, err := io.ReadAll(part)
		from, to, _ := strings.Cut(want, "-")
		header := part.Header
		if err != nil || !bytes.Equal(got, of[s.size(from):s.size(to)+1]) ||
			header.Get("Content-Range") != fmt.Sprintf("bytes %s/%d", want, len(of)) || header.Get("Content-Type") != "application/octet-stream" {
			return fmt.Sprintf("the part %s is %d bytes of %v, %v", want, len(got), header, err)
		}
	}
	if _, err := parts.NextRawPart(); !errors.Is(err, io.EOF) {
		return fmt.Sprintf("after the last part: %v", err)
	}
	return ""
}

// header <name> <value> | header <name> ~ <regexp> | no header <name>
func (s *scenario) compareHeader(r *reply, args []string) string {
	s.t.Helper()
	if args[0] == "no" {
		if got := r.header.Values(s.arg(args, 2)); len(got) > 0 {
			return fmt.Sprintf("there is a header %q", got)
		}
		return ""
	}
	got, want := r.header.Get(s.arg(args, 1)), s.arg(args, 2)
	if want == "~" {
		if !s.regexp(s.arg(args, 3)).MatchString(got) {
			return fmt.Sprintf("%s is %q", args[1], got)
		}
	} else if got != want {
		return fmt.Sprintf("%s is %q", args[1], got)
	}
	return ""
}

// document returns code and detail of an OCI error document.
func (r *reply) document() (code, detail string) {
	var document struct {
		Errors []struct{ Code, Detail string }
	}
	if err := json.Unmarshal(r.body, &document); err != nil || len(document.Errors) != 1 {
		return "", ""
	}
	return document.Errors[0].Code, document.Errors[0].Detail
}

func (s *scenario) regexp(expression string) *regexp.Regexp {
	s.t.Helper()
	compiled, err := regexp.Compile(expression)
	s.check(err)
	return compiled
}

// span reads "3" and "1..5".
func (s *scenario) span(word string) (from, to int) {
	s.t.Helper()
	low, high, ok := strings.Cut(word, "..")
	if !ok {
		high = low
	}
	return s.size(low), s.size(high)
}

// stored <digest> | stored not <digest>: the store has the blob, or comes to
// have it soon; or has it not, now that it is idle.
func (s *scenario) cmdStored(args []string) {
	if s.arg(args, 0) == "not" {
		s.waitIdle()
		if _, err := os.Stat(s.blobFile(digest.Digest(s.arg(args, 1)))); err == nil {
			s.fatalf("it is stored")
		}
		return
	}
	s.soon(func() string {
		if _, err := os.Stat(s.blobFile(digest.Digest(args[0]))); err != nil {
			return err.Error()
		}
		return ""
	})
}

// idle: no download and no look-up is running any more, soon.
func (s *scenario) cmdIdle([]string) { s.waitIdle() }

func (s *scenario) waitIdle() {
	s.t.Helper()
	s.soon(running)
}

// running tells what is going on in the stores; empty = nothing.
func running() string {
	for _, c := range storeStatuses() {
		if c.Stats.Fills > 0 || c.LookUps > 0 || c.Readers > 0 {
			return fmt.Sprintf("%d fills with %d readers, %d look-ups are running", c.Stats.Fills, c.Readers, c.LookUps)
		}
	}
	return ""
}

// soon waits until nothing is wrong any more; what has no event to wait for.
func (s *scenario) soon(wrong func() string) {
	s.t.Helper()
	for deadline := time.Now().Add(processTime); ; time.Sleep(2 * time.Millisecond) {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(deadline) {
			s.fatalf("%s", text)
		}
	}
}

// sleep <duration>: for what only time brings about, such as an end of patience.
func (s *scenario) cmdSleep(args []string) {
	d, err := time.ParseDuration(s.arg(args, 0))
	s.check(err)
	time.Sleep(d)
}
