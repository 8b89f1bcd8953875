package buckettest

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upload is an object that is written in parts.
type upload struct {
	name   string
	header http.Header
	parts  map[int][]byte
	began  time.Time
}

// Uploads returns how many uploads in parts have not ended.
func (s *Server) Uploads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// Age has all uploads in parts begun so much earlier.
func (s *Server) Age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		u.began = u.began.Add(-by)
	}
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprint("upload-", len(s.requests))
	s.uploads[id] = &upload{name: name, header: r.Header, parts: map[int][]byte{}, began: time.Now()}
	answer(w, struct {
		XMLName xml.Name `xml:"InitiateMultipartUploadResult"`
		ID      string   `xml:"UploadId"`
	}{ID: id})
}

func (s *Server) proceed(w http.ResponseWriter, r *http.Request, name string) {
	id := r.URL.Query().Get("uploadId")
	s.mu.Lock()
	u := s.uploads[id]
	s.mu.Unlock()
	switch {
	case u == nil || u.name != name:
		refuse(w, http.StatusNotFound, "NoSuchUpload")
	case r.Method == http.MethodPut:
		s.take(w, r, u)
	case r.Method == http.MethodPost:
		s.complete(w, r, id, u)
	default:
		s.mu.Lock()
		delete(s.uploads, id)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) take(w http.ResponseWriter, r *http.Request, u *upload) {
	number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidArgument")
		return
	}
	content, ok := received(w, r)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.parts[number] = content
	w.Header().Set("Etag", partETag(number, content))
}

func partETag(number int, content []byte) string {
	return fmt.Sprintf(`"%d-%s"`, number, hex.EncodeToString(content[:min(len(content), 8)]))
}

func (s *Server) complete(w http.ResponseWriter, r *http.Request, id string, u *upload) {
	var wanted struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&wanted); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var parts [][]byte
	s.mu.Lock()
	for _, p := range wanted.Part {
		if content, ok := u.parts[p.PartNumber]; ok && p.ETag == partETag(p.PartNumber, content) {
			parts = append(parts, content)
		}
	}
	s.mu.Unlock()
	if len(parts) != len(wanted.Part) || len(parts) == 0 {
		refuse(w, http.StatusBadRequest, "InvalidPart")
		return
	}
	if !s.store(w, r, u.name, slices.Concat(parts...), u.header) {
		return
	}
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	answer(w, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
	}{})
}

func (s *Server) listUploads(w http.ResponseWriter, bucket string) {
	type running struct {
		Key       string
		ID        string `xml:"UploadId"`
		Initiated time.Time
	}
	var list struct {
		XMLName xml.Name `xml:"ListMultipartUploadsResult"`
		Upload  []running
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.uploads {
		if key, ok := strings.CutPrefix(u.name, bucket+"/"); ok {
			list.Upload = append(list.Upload, running{key, id, u.began})
		}
	}
	answer(w, list)
}
