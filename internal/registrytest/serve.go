package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func (s *Server) serveRegistry(w http.ResponseWriter, r *http.Request) {
	if s.o.Profile != nil {
		s.serveProfile(HostRegistry, w, r)
		return
	}
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	kind := kindOf(HostRegistry, r.URL.Path)
	name, reference := rest, ""
	if i := strings.LastIndex(rest, "/"+kind+"/"); kind != "ping" && i >= 0 {
		name, reference = rest[:i], rest[i+len(kind)+2:]
	}
	if !s.authorized(w, r, name) {
		return
	}
	if kind == "ping" {
		_, _ = w.Write([]byte("{}"))
		return
	}
	s.mu.Lock()
	repo := s.repos[name]
	s.mu.Unlock()
	if repo == nil {
		sendError(w, http.StatusNotFound, "NAME_UNKNOWN")
		return
	}
	switch kind {
	case "manifests":
		s.serveManifest(w, r, repo, reference)
	case "blobs":
		s.mu.Lock()
		_, exists := repo.blobs[digest.Digest(reference)]
		s.mu.Unlock()
		if s.o.CDN && exists && r.Method == http.MethodGet {
			http.Redirect(w, r, s.absolute(s.cdn, r.URL.Path, url.Values{"signature": {"secret"}}), http.StatusTemporaryRedirect)
			return
		}
		s.serveBlob(w, r, repo, reference)
	case "tags":
		s.serveTags(w, r, repo, name)
	case "referrers":
		s.serveReferrers(w, repo, digest.Digest(reference))
	default:
		http.NotFound(w, r)
	}
}

func (s *Server) authorized(w http.ResponseWriter, r *http.Request, name string) bool {
	switch s.o.Auth {
	case AuthBasic:
		if user, password, _ := r.BasicAuth(); user == s.o.Username && password == s.o.Password {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registrytest"`)
	case AuthBearer:
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		expired := s.expired(token)
		s.mu.Unlock()
		scope, _, _ := strings.Cut(token, "#")
		if !expired && (name == "" || scope == "repository:"+strings.TrimSuffix(name, "/tags/list")+":pull") {
			return true
		}
		challenge := fmt.Sprintf(`Bearer realm="%s",service="registrytest"`, s.TokenURL())
		if name != "" {
			challenge += fmt.Sprintf(`,scope="repository:%s:pull"`, strings.TrimSuffix(name, "/tags/list"))
		}
		w.Header().Set("WWW-Authenticate", challenge)
	default:
		return true
	}
	sendError(w, http.StatusUnauthorized, "UNAUTHORIZED")
	return false
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	if s.o.Profile != nil {
		s.serveProfile(HostToken, w, r)
		return
	}
	if s.o.Username != "" {
		if user, password, _ := r.BasicAuth(); user != s.o.Username || password != s.o.Password {
			sendError(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
	}
	s.mu.Lock()
	s.issued++
	token := r.URL.Query().Get("scope") + "#" + strconv.Itoa(s.issued)
	s.tokens[token] = grant{end: time.Now().Add(s.o.TokenLifetime)}
	s.mu.Unlock()
	sendJSON(w, "application/json", map[string]any{"token": token, "expires_in": int(s.o.TokenLifetime.Seconds())})
}

func (s *Server) serveManifest(w http.ResponseWriter, r *http.Request, repo *repository, reference string) {
	s.mu.Lock()
	d, ok := repo.tags[reference]
	if !ok {
		d = digest.Digest(reference)
	}
	m, ok := repo.manifests[d]
	s.mu.Unlock()
	if !ok {
		sendError(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Length", strconv.Itoa(len(m.raw)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(m.raw)
	}
}

func (s *Server) serveBlobOfCDN(w http.ResponseWriter, r *http.Request) {
	if s.o.Profile != nil {
		s.serveProfile(HostCDN, w, r)
		return
	}
	rest := strings.TrimPrefix(r.URL.Path, "/v2/")
	name, reference, _ := strings.Cut(rest, "/blobs/")
	s.mu.Lock()
	repo := s.repos[name]
	s.mu.Unlock()
	if repo == nil || r.URL.Query().Get("signature") != "secret" || r.Header.Get("Authorization") != "" {
		http.Error(w, "AccessDenied", http.StatusForbidden)
		return
	}
	s.serveBlob(w, r, repo, reference)
}

func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request, repo *repository, reference string) {
	s.mu.Lock()
	content, ok := repo.blobs[digest.Digest(reference)]
	s.mu.Unlock()
	if !ok {
		sendError(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", reference)
	serveBytes(w, r, content())
}

func serveBytes(w http.ResponseWriter, r *http.Request, b []byte) {
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func (s *Server) serveTags(w http.ResponseWriter, r *http.Request, repo *repository, name string) {
	s.mu.Lock()
	tags := make([]string, 0, len(repo.tags))
	for tag := range repo.tags {
		tags = append(tags, tag)
	}
	s.mu.Unlock()
	slices.Sort(tags)
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(tags, last)
		if found {
			i++
		}
		tags = tags[i:]
	}
	name = strings.TrimSuffix(name, "/tags/list")
	if n, err := strconv.Atoi(query.Get("n")); err == nil && n < len(tags) {
		tags = tags[:n]
		if n > 0 {
			next := url.Values{"n": {strconv.Itoa(n)}, "last": {tags[n-1]}}
			w.Header().Set("Link", "</v2/"+name+"/tags/list?"+next.Encode()+`>; rel="next"`)
		}
	}
	sendJSON(w, "application/json", map[string]any{"name": name, "tags": tags})
}

func (s *Server) serveReferrers(w http.ResponseWriter, repo *repository, subject digest.Digest) {
	if s.o.NoReferrers {
		sendError(w, http.StatusNotFound, "UNSUPPORTED")
		return
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	s.mu.Lock()
	for d, m := range repo.manifests {
		var doc ocispec.Manifest
		if json.Unmarshal(m.raw, &doc) == nil && doc.Subject != nil && doc.Subject.Digest == subject {
			artifactType := doc.ArtifactType
			if artifactType == "" {
				artifactType = doc.Config.MediaType
			}
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: m.mediaType, Digest: d, Size: int64(len(m.raw)),
				ArtifactType: artifactType, Annotations: doc.Annotations,
			})
		}
	}
	s.mu.Unlock()
	sendJSON(w, ocispec.MediaTypeImageIndex, index)
}

func sendError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"registrytest"}]}`, code)
}

func sendJSON(w http.ResponseWriter, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	_ = json.NewEncoder(w).Encode(v)
}
