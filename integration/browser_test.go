//go:build integration

package integration

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// axe finds what keeps people from using a page.
//
//go:embed testdata/axe/axe.min.js
var axe string

// browserPatience is how long is waited for something to show up in a browser.
const browserPatience = 30 * time.Second

// browser is a page in Chromium. It notes what the page complains of.
type browser struct {
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// newBrowser starts Chromium, which ends with the test.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	return newPage(t, ctx)
}

// newPage opens a page, in a browser of its own if there is none in the context.
func newPage(t *testing.T, ctx context.Context) *browser { //nolint:revive // the context is what it opens the page in
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	go b.note(chromedp.Console(ctx))
	return b
}

// tab returns another page of the same browser.
func (b *browser) tab(t *testing.T) *browser {
	t.Helper()
	return newPage(t, b.ctx)
}

// note keeps what the page complains of.
func (b *browser) note(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for m, err := range messages {
		if err != nil {
			return // the browser has ended
		}
		switch m.Type {
		case chromedp.ConsoleWarning, chromedp.ConsoleError, chromedp.ConsoleException:
			b.mu.Lock()
			b.complaints = append(b.complaints, m.Text+" "+m.URL)
			b.mu.Unlock()
		}
	}
}

// heard returns what the page has complained of since it was last asked.
func (b *browser) heard() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.complaints
	b.complaints = nil
	return all
}

// in runs something in the page, which has to come to an end.
func in[T any](t *testing.T, b *browser, what string, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
		defer cancel()
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body.innerText"))
		t.Fatalf("%s: %v; the page complains: %q; it has\n%s", what, err, b.heard(), text)
	}
	return value
}

// open goes to a URL. Where only the fragment differs, that is what changes.
func (b *browser) open(t *testing.T, url string) {
	t.Helper()
	in(t, b, "open "+url, chromedp.Navigate(url))
}

// evaluate returns the value of an expression, which may be a promise.
func evaluate[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	return in(t, b, expression, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// awaits waits until an expression is true.
func (b *browser) awaits(t *testing.T, expression string) {
	t.Helper()
	in(t, b, "wait for "+expression, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(browserPatience)))
}

// has waits until the page shows a text.
func (b *browser) has(t *testing.T, text string) {
	t.Helper()
	raw, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	b.awaits(t, "document.body.innerText.includes("+string(raw)+")")
}

// click presses the last button with a text: that of a dialog, if one is open.
func (b *browser) click(t *testing.T, text string) {
	t.Helper()
	raw, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	find := "[...document.querySelectorAll('button')].findLast(b => b.textContent.trim() === " + string(raw) + " && b.offsetParent !== null)"
	b.awaits(t, "!!"+find)
	evaluate[bool](t, b, "("+find+".click(), true)")
}

// look makes the page that of a scheme and a width.
func (b *browser) look(t *testing.T, scheme string, width int64) {
	t.Helper()
	in(t, b, "look "+scheme, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		if err != nil {
			return err
		}
		_, err = chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1})
		return err
	}))
}

// barriers returns what of the page keeps people out, as far as axe finds that serious.
// It comes by the protocol of Chromium, to which the policy of the page does not apply.
func (b *browser) barriers(t *testing.T) []string {
	t.Helper()
	evaluate[bool](t, b, axe+"\ntrue")
	return evaluate[[]string](t, b, `axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))
		.map(v => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 5).map(n => n.html.slice(0, 160) + ' ' + (n.any[0] ? n.any[0].message : '')).join(' | ')))`)
}

// keep writes a picture of the whole page into the folder that SCREENSHOTS names.
func (b *browser) keep(t *testing.T, name string) {
	t.Helper()
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		return
	}
	picture := in(t, b, "picture", chromedp.FullScreenshot(100))
	name = strings.NewReplacer("?", "-", "=", "-", "/", "-").Replace(name) + ".png"
	if err := os.WriteFile(filepath.Join(folder, name), picture, 0o600); err != nil {
		t.Fatal(fmt.Errorf("keep %s: %w", name, err))
	}
}
