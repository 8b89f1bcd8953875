package caddymodule

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestScripts runs the command in processes of its own. Scripts have these
// variables: ADDR and ADDR2, free addresses; PORT and PORT2, their ports; UPSTREAM, the URL
// of a registry with library/alpine:3; GUARDED, that of one that wants the user me with the
// password right.
// These commands besides the usual ones:
//
//	await <url>             waits until the URL is answered with 200
//	pull <url>              prints the Cache-Status of a GET, which has to be 200
//	answer <url>            prints status and body of the answer to a GET
//	waitfor <file> <regexp> waits until something in the file matches
//	grows <file>            waits until more is in the file than now
//	count <n>               checks how many requests the upstream has seen
//	image <url>             pulls all of library/alpine:3 from a mirror, until it is cached
//	flip <folder> <n>       flips one bit in each of n blobs of a storage
//	seed <folder> <name>... stores images without an upstream
//	damage <tar> <copy>     copies a tar, with one bit of its last entry flipped
//	foreign                 writes the layout foreign and the archive foreign.tar
//	names <tar> <copy>      copies a bundle without its blobs
//	clock <duration>        puts the clocks of the upstreams forward
//	buildcache              gives the upstream library/cache:1, an index of blobs
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			upstream, err := registrytest.Listen("127.0.0.1:0", registrytest.Options{})
			if err != nil {
				return err
			}
			env.Defer(upstream.Close)
			env.Values["image"] = upstream.PutImage("library/alpine", "3", 11, 10)
			env.Values["upstream"] = upstream
			env.Setenv("UPSTREAM", upstream.URL())
			guarded, err := registrytest.Listen("127.0.0.1:0", registrytest.Options{Auth: registrytest.AuthBasic, Username: "me", Password: "right"})
			if err != nil {
				return err
			}
			env.Defer(guarded.Close)
			env.Values["guarded"] = guarded
			env.Setenv("GUARDED", guarded.URL())
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", env.WorkDir+"/data")
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir+"/config")
			for _, name := range []string{"ADDR", "ADDR2"} {
				address, err := freeport.Address()
				if err != nil {
					return err
				}
				env.Setenv(name, address)
				_, port, _ := net.SplitHostPort(address)
				env.Setenv(strings.Replace(name, "ADDR", "PORT", 1), port)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": func(ts *testscript.TestScript, _ bool, args []string) {
				for deadline := time.Now().Add(processTime); ; {
					status, _, err := get(args[0])
					if err == nil && status == http.StatusOK {
						return
					}
					if time.Now().After(deadline) {
						ts.Fatalf("await %s: status %d, %v", args[0], status, err)
					}
					time.Sleep(10 * time.Millisecond) // another process has no event for us
				}
			},
			"pull": func(ts *testscript.TestScript, _ bool, args []string) {
				status, header, err := get(args[0])
				if err != nil || status != http.StatusOK {
					ts.Fatalf("pull %s: status %d, %v", args[0], status, err)
				}
				_, _ = io.WriteString(ts.Stdout(), header.Get("Cache-Status")+"\n")
			},
			"answer": func(ts *testscript.TestScript, _ bool, args []string) {
				response, err := http.Get(args[0])
				ts.Check(err)
				defer response.Body.Close()
				_, _ = io.WriteString(ts.Stdout(), response.Status+" ")
				_, err = io.Copy(ts.Stdout(), response.Body)
				ts.Check(err)
			},
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) {
				pattern := regexp.MustCompile(args[1])
				waitForFile(ts, args[0], pattern.Match)
			},
			"grows": func(ts *testscript.TestScript, _ bool, args []string) {
				before := len(ts.ReadFile(args[0]))
				waitForFile(ts, args[0], func(content []byte) bool { return len(content) > before })
			},
			"count": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if n := ts.Value("upstream").(*registrytest.Server).Count("", ""); n != want {
					ts.Fatalf("the upstream saw %d requests, want %d", n, want)
				}
			},
			"clock": func(ts *testscript.TestScript, _ bool, args []string) {
				ahead, err := time.ParseDuration(args[0])
				ts.Check(err)
				for _, name := range []string{"upstream", "guarded"} {
					ts.Value(name).(*registrytest.Server).Hook(registrytest.Spoil{Header: func(h http.Header) {
						h.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
					}}.Hook())
				}
			},
			"image":      pullImage,
			"flip":       flipBlobs,
			"seed":       seedImage,
			"damage":     damageBundle,
			"foreign":    writeForeign,
			"names":      copyNames,
			"buildcache": putBuildCache,
			// subst replaces $NAME in a file by the variable.
			"subst": func(ts *testscript.TestScript, _ bool, args []string) {
				text := ts.ReadFile(args[0])
				for _, name := range []string{"ADDR2", "ADDR", "PORT2", "UPSTREAM", "GUARDED", "WORK"} {
					text = strings.ReplaceAll(text, "$"+name, ts.Getenv(name))
				}
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
		},
	})
}

// waitForFile waits until what another process writes to a file is as it should be.
func waitForFile(ts *testscript.TestScript, name string, done func([]byte) bool) {
	for deadline := time.Now().Add(processTime); ; {
		content, err := os.ReadFile(ts.MkAbs(name))
		switch {
		case err == nil && done(content):
			return
		case time.Now().After(deadline):
			ts.Fatalf("%s: %v\n%s", name, err, content)
		}
		time.Sleep(10 * time.Millisecond) // another process has no event for us
	}
}

// get gets a URL, again if the connection is cut before any answer, as puller does.
func get(url string) (int, http.Header, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: processTime}
	response, err := client.Get(url)
	for attempt := 1; err != nil && attempt < 10 && !errors.Is(err, syscall.ECONNREFUSED); attempt++ {
		response, err = client.Get(url)
	}
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Header, err
}
