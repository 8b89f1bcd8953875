package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// The upstream sends so much of a blob and then nothing; some of that may be on its
// way.
const shutdownSent, shutdownSlack = 20 << 20, 1 << 20

// TestShutdown ends the process in every way while blobs are read: by a client that
// takes what comes, by one that takes nothing, and of an upstream that sends nothing
// any more. It ends in time, and the next one goes on where it was.
func TestShutdown(t *testing.T) {
	t.Parallel()
	const size, sent, slack = 24 << 20, shutdownSent, shutdownSlack
	stop := func(s syscall.Signal) func(*process, string) { return func(p *process, _ string) { p.signal(s) } }
	for name, test := range map[string]struct {
		global string
		before func(p *process, dir, path string) // the end
		end    func(p *process, dir string)
		within time.Duration
		code   int
	}{
		"SIGTERM":                     {"", nil, stop(syscall.SIGTERM), exitGrace + exitPatience, 0},
		"SIGINT":                      {"grace_period 1s", nil, stop(syscall.SIGINT), exitGrace, 0},
		"SIGTERM with a grace period": {"grace_period 1s", nil, stop(syscall.SIGTERM), exitGrace, 0},
		"stop":                        {"grace_period 1s", nil, stopCommand, exitGrace, 0},
		"SIGTERM after a reload":      {"grace_period 1s", reload, stop(syscall.SIGTERM), exitGrace, 0},
		"SIGKILL":                     {"", awaitSaved, stop(syscall.SIGKILL), exitGrace, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upstream := registrytest.New(t, registrytest.Options{})
			warm, content := registrytest.Random(1, size), registrytest.Random(2, size)
			warmPath := "/v2/proxy-docker.io/library/app/blobs/" + upstream.PutBlob("library/app", warm).String()
			coldPath := "/v2/proxy-docker.io/library/app/blobs/" + upstream.PutBlob("library/app", content).String()
			dir := t.TempDir()
			env := []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
			addr, config := freeAddr(t), filepath.Join(dir, "Caddyfile")
			text := fmt.Sprintf("{\n%s\nadmin unix/%s/a.sock\npersist_config off\nregistry_mirror {\nstorage %s/store\n}\n}\n"+
				"http://%s {\nregistry_mirror {\nupstream docker.io {\nurl %s\nparallel_download 1\n}\n}\n}\n", test.global, dir, dir, addr, upstream.URL())
			if err := os.WriteFile(config, caddyfile.Format([]byte(text)), 0o600); err != nil {
				t.Fatal(err)
			}
			p := startProcess(t, env, "run", "--config", config)
			p.await("http://" + addr + "/v2/")
			if got := fetched(t, addr, warmPath); !bytes.Equal(got, warm) {
				t.Fatalf("%d bytes of the first blob", len(got))
			}
			hold, _ := registrytest.Hold(t)
			upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if r.Header.Get("Range") != "" {
					next(w, r)
					return
				}
				next(&halting{ResponseWriter: w, left: sent, release: hold}, r)
			})
			reader := begin(t, addr, coldPath)
			if n, err := io.CopyN(io.Discard, reader, sent-slack); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			begin(t, addr, warmPath) // and never read
			begin(t, addr, coldPath)
			if test.before != nil {
				test.before(p, dir, coldPath)
			}
			began := time.Now()
			test.end(p, dir)
			code := p.wait()
			if took := time.Since(began); took > test.within {
				t.Errorf("it took %v", took)
			}
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if n, err := io.Copy(io.Discard, reader); err == nil || n > slack {
				t.Errorf("the reader's body ends after %d more bytes: %v", n, err)
			}

			upstream.Reset()
			p = startProcess(t, env, "run", "--config", config)
			p.await("http://" + addr + "/v2/")
			if got := fetched(t, addr, warmPath); !bytes.Equal(got, warm) {
				t.Errorf("afterwards, %d bytes of what was whole", len(got))
			}
			if got := fetched(t, addr, coldPath); !bytes.Equal(got, content) {
				t.Errorf("afterwards, %d bytes of what was under way", len(got))
			}
			requests := upstream.Requests()
			if len(requests) != 1 {
				t.Errorf("the upstream is asked %d times, want once for the rest", len(requests))
			}
			for _, r := range requests {
				var from int64
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil || from < sent-slack {
					t.Errorf("the upstream is asked for %q, and had sent %d bytes", r.Header.Get("Range"), sent)
				}
			}
		})
	}
}

func stopCommand(p *process, dir string) {
	if printed, code := runProcess(p.t, nil, "stop", "--config", dir+"/Caddyfile"); code != 0 {
		p.t.Error(printed)
	}
}

func reload(p *process, dir, _ string) {
	if printed, code := runProcess(p.t, nil, "reload", "--force", "--config", dir+"/Caddyfile"); code != 0 {
		p.t.Error(printed)
	}
}

// awaitSaved waits until it is written down of the part of a blob how far it has come.
func awaitSaved(p *process, dir, path string) {
	eventually(p.t, "what came is written down", func() bool {
		files, _ := filepath.Glob(dir + "/store/ingest/*.json")
		for _, file := range files {
			var sidecar struct {
				Digest  string
				Covered []struct{ End int64 }
			}
			raw, _ := os.ReadFile(file)
			if json.Unmarshal(raw, &sidecar) == nil && strings.HasSuffix(path, "/"+sidecar.Digest) && len(sidecar.Covered) == 1 && sidecar.Covered[0].End >= shutdownSent-shutdownSlack {
				return true
			}
		}
		return false
	})
}

// begin requests a blob, and returns the body of the answer.
func begin(t *testing.T, addr, path string) io.Reader {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: processTime}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, response.Status)
	}
	return response.Body
}

func fetched(t *testing.T, addr, path string) []byte {
	t.Helper()
	body, err := io.ReadAll(begin(t, addr, path))
	if err != nil {
		t.Errorf("GET %s: %v", path, err)
	}
	return body
}
