package sandboximage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/events/exchange"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.etcd.io/bbolt"
)

const imageName = "k3s-daas.local/pause:1"

// collecting is a lease manager whose synchronous end collects garbage, as containerd's service does
// (plugins/leases/local.go).
type collecting struct {
	leases.Manager
	db *metadata.DB
}

func (c collecting) Delete(ctx context.Context, lease leases.Lease, opts ...leases.DeleteOpt) error {
	var options leases.DeleteOptions
	for _, opt := range opts {
		if err := opt(ctx, &options); err != nil {
			return err
		}
	}
	if err := c.Manager.Delete(ctx, lease, opts...); err != nil {
		return err
	}
	if options.Synchronous {
		_, err := c.db.GarbageCollect(ctx)
		return err
	}
	return nil
}

// store is containerd's own metadata and content stores in a folder.
type store struct {
	root   string
	keeper *keeper
	ctx    context.Context
	// blobs are the layer's, the configuration's and the manifest's digests.
	blobs []digest.Digest
	exit  context.CancelFunc
}

func newStore(t *testing.T) *store {
	t.Helper()
	root := t.TempDir()
	blobs, err := local.NewStore(filepath.Join(root, "content"))
	if err != nil {
		t.Fatal(err)
	}
	bolt, err := bbolt.Open(filepath.Join(root, "meta.db"), 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bolt.Close() })
	published := exchange.NewExchange()
	db := metadata.NewDB(bolt, blobs, nil, metadata.WithEventsPublisher(published))
	ctx, exit := context.WithCancel(namespaces.WithNamespace(context.Background(), kubernetes))
	t.Cleanup(exit)
	if err := db.Init(ctx); err != nil {
		t.Fatal(err)
	}
	containerd, err := client.New("", client.WithDefaultNamespace(kubernetes), client.WithServices(
		client.WithContentStore(db.ContentStore()),
		client.WithImageStore(metadata.NewImageStore(db)),
		client.WithLeasesService(collecting{metadata.NewLeaseManager(db), db}),
		client.WithEventService(published),
	))
	if err != nil {
		t.Fatal(err)
	}
	s := &store{root: root, ctx: ctx, exit: exit}
	path := filepath.Join(root, "pause.tar")
	if err := os.WriteFile(path, s.archive(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s.keeper = &keeper{path: path, client: containerd}
	return s
}

// archive is an image of one layer, laid out as the image builder does (image/src/oci.rs).
func (s *store) archive(t *testing.T) []byte {
	t.Helper()
	var archive bytes.Buffer
	out := tar.NewWriter(&archive)
	add := func(name string, data []byte) {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(mediaType string, data []byte) ocispec.Descriptor {
		descriptor := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		add("blobs/sha256/"+descriptor.Digest.Encoded(), data)
		return descriptor
	}
	encode := func(value any) []byte {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	version := specs.Versioned{SchemaVersion: 2}
	layer := blob(ocispec.MediaTypeImageLayer, []byte("a layer"))
	config := blob(ocispec.MediaTypeImageConfig, encode(ocispec.Image{
		Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}},
	}))
	manifest := blob(ocispec.MediaTypeImageManifest, encode(ocispec.Manifest{
		Versioned: version, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer},
	}))
	s.blobs = []digest.Digest{layer.Digest, config.Digest, manifest.Digest}
	manifest.Annotations = map[string]string{"io.containerd.image.name": imageName}
	add("index.json", encode(ocispec.Index{
		Versioned: version, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{manifest},
	}))
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// blob is where the content store keeps a blob.
func (s *store) blob(digest digest.Digest) string {
	return filepath.Join(s.root, "content/blobs/sha256", digest.Encoded())
}

func (s *store) mustBeWhole(t *testing.T) {
	t.Helper()
	image, err := s.keeper.client.ImageService().Get(s.ctx, imageName)
	if err != nil {
		t.Fatal(err)
	}
	if image.Labels["io.cri-containerd.image"] != "managed" || image.Labels["io.cri-containerd.pinned"] != "pinned" {
		t.Errorf("the image has the labels %v", image.Labels)
	}
	for _, digest := range s.blobs {
		data, err := os.ReadFile(s.blob(digest))
		if err != nil {
			t.Fatal(err)
		}
		if digest.Algorithm().FromBytes(data) != digest {
			t.Errorf("the blob %s is damaged", digest)
		}
	}
}

func TestEnsureImportsOnceAndAgain(t *testing.T) {
	s := newStore(t)
	for range 2 {
		if err := s.keeper.ensureOrReplace(s.ctx); err != nil {
			t.Fatal(err)
		}
		s.mustBeWhole(t)
	}
}

func TestEnsureReplacesDamagedBlobs(t *testing.T) {
	for name, damage := range map[string]func(string) error{
		"changed": func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			data[0] ^= 1
			if err := os.Chmod(path, 0o600); err != nil {
				return err
			}
			return os.WriteFile(path, data, 0o600)
		},
		"missing":   os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 3) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := s.keeper.ensureOrReplace(s.ctx); err != nil {
				t.Fatal(err)
			}
			for _, digest := range s.blobs {
				if err := damage(s.blob(digest)); err != nil {
					t.Fatal(err)
				}
				if err := s.keeper.ensureOrReplace(s.ctx); err != nil {
					t.Fatal(err)
				}
				s.mustBeWhole(t)
			}
		})
	}
}

func TestEnsureWithoutArchiveFails(t *testing.T) {
	s := newStore(t)
	s.keeper.path = filepath.Join(s.root, "absent")
	if err := s.keeper.ensureOrReplace(s.ctx); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

func TestRunImportsARemovedImage(t *testing.T) {
	s := newStore(t)
	removals, failures := s.keeper.client.Subscribe(s.ctx, `topic=="/images/delete"`)
	if err := s.keeper.ensureOrReplace(s.ctx); err != nil {
		t.Fatal(err)
	}
	imported, importErrors := s.keeper.client.Subscribe(s.ctx, `topic=="/images/create"`)
	done := make(chan struct{})
	go func() {
		s.keeper.run(s.ctx, true, removals, failures)
		close(done)
	}()
	if err := s.keeper.client.ImageService().Delete(s.ctx, imageName); err != nil {
		t.Fatal(err)
	}
	select {
	case <-imported:
	case err := <-importErrors:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("the image was not imported again")
	}
	s.mustBeWhole(t)
	s.exit()
	<-done
}
