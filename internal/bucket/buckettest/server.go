// Package buckettest has an S3 server in memory, for tests: as much of one as a fleet asks
// for, with faults on demand.
package buckettest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server is an S3 server. It believes whatever key a request is signed with, and has
// whatever bucket it is asked for. Safe for concurrent use.
type Server struct {
	mu       sync.Mutex
	objects  map[string]object // by bucket and key
	uploads  map[string]*upload
	requests []string
	hook     func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc)
}

type object struct {
	content []byte
	etag    string
	header  http.Header // what was sent with it, and comes back
	changed time.Time
}

// New returns a server of empty buckets.
func New() *Server { return &Server{objects: map[string]object{}, uploads: map[string]*upload{}} }

// Hook has every request go through a function from now on; nil = none.
func (s *Server) Hook(hook func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Keys returns the keys of a bucket, in order.
func (s *Server) Keys(bucket string) (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if key, ok := strings.CutPrefix(name, bucket+"/"); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// Count returns how many requests came with a method, and with some part of the path and
// query; empty = any.
func (s *Server) Count(method, part string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, method) && strings.Contains(r, part) {
			n++
		}
	}
	return n
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		s.serve(w, r)
	} else {
		hook(w, r, s.serve)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	query, name := r.URL.Query(), strings.Trim(r.URL.Path, "/")
	switch {
	case query.Has("list-type"):
		s.list(w, r, name)
	case query.Has("uploads") && r.Method == http.MethodGet:
		s.listUploads(w, name)
	case query.Has("uploads"):
		s.begin(w, r, name)
	case query.Has("uploadId"):
		s.proceed(w, r, name)
	case r.Method == http.MethodPut:
		s.put(w, r, name)
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.objects, name)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		s.get(w, r, name)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}

func answer(w http.ResponseWriter, document any) { _ = xml.NewEncoder(w).Encode(document) }

// received returns the body of a request, unless that is not what was announced.
func received(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, false
	}
	sum := sha256.Sum256(content)
	if announced := r.Header.Get("X-Amz-Content-Sha256"); len(announced) == hex.EncodedLen(len(sum)) && announced != hex.EncodeToString(sum[:]) {
		refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
		return nil, false
	}
	return content, true
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, name string) {
	if content, ok := received(w, r); ok {
		s.store(w, r, name, content, r.Header)
	}
}

// store stores an object, as far as that is there which the request is conditional on.
func (s *Server) store(w http.ResponseWriter, r *http.Request, name string, content []byte, told http.Header) (stored bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.objects[name]
	if match := r.Header.Get("If-Match"); r.Header.Get("If-None-Match") == "*" && known || match != "" && match != old.etag {
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return false
	}
	sum := sha256.Sum256(content)
	o := object{content: content, etag: `"` + hex.EncodeToString(sum[:16]) + `"`, header: http.Header{}, changed: time.Now()}
	for name, values := range told {
		if name == "Content-Type" || strings.HasPrefix(name, "X-Amz-Meta-") {
			o.header[name] = values
		}
	}
	s.objects[name] = o
	w.Header().Set("Etag", o.etag)
	return true
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, name string) {
	s.mu.Lock()
	o, ok := s.objects[name]
	s.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	maps.Copy(w.Header(), o.header)
	w.Header().Set("Content-Type", cmp.Or(o.header.Get("Content-Type"), "binary/octet-stream"))
	w.Header().Set("Etag", o.etag)
	http.ServeContent(w, r, "", o.changed, bytes.NewReader(o.content))
}

// listPage is how many objects a list has at a time.
const listPage = 1000

type listed struct {
	Key, ETag    string
	Size         int
	LastModified time.Time
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, bucket string) {
	var page struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []listed
	}
	query := r.URL.Query()
	after := cmp.Or(query.Get("continuation-token"), query.Get("start-after"))
	for _, key := range s.Keys(bucket) {
		if !strings.HasPrefix(key, query.Get("prefix")) || key <= after {
			continue
		}
		if page.IsTruncated = len(page.Contents) == listPage; page.IsTruncated {
			page.NextContinuationToken = page.Contents[listPage-1].Key
			break
		}
		s.mu.Lock()
		o := s.objects[bucket+"/"+key]
		s.mu.Unlock()
		page.Contents = append(page.Contents, listed{key, o.etag, len(o.content), o.changed})
	}
	answer(w, page)
}
