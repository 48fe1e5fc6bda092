using System.Text;
using Nibble.Serving.Files;
using Nibble.Serving.Store;

namespace Nibble.Serving.Tests;

/// <summary>Uploaded files: rows in the store, contents on the disk.</summary>
public class FileTests(PostgresServer server)
{
    /// <summary>SHA-256 of "abc", from FIPS 180-2.</summary>
    private const string Abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task Files_of_the_same_content_share_it_until_the_last_is_deleted(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore store = test.Open();
        FileLibrary files = Library(test, store, quota: null);
        StoredFile one = await AddAsync(files, "abc", "one.jsonl");
        StoredFile two = await AddAsync(files, "abc", "Two.JSONL");
        StoredFile packed = await AddAsync(files, "abc", "three.jsonl.gz");
        Assert.Equal((Abc, 3), (one.Sha256, one.Bytes));
        Assert.Equal(test[$"files/ba/{Abc}.jsonl"], files.PathOf(one));
        Assert.Equal(files.PathOf(one), files.PathOf(two));
        Assert.Equal(test[$"files/ba/{Abc}.jsonl.gz"], files.PathOf(packed));
        Assert.Equal("abc", File.ReadAllText(files.PathOf(two)));
        Assert.Equal([packed.Id, two.Id, one.Id], (await store.ListFilesAsync(10, after: null, purpose: null, default)).Select(file => file.Id));
        Assert.Equal([one.Id], (await store.ListFilesAsync(10, after: two, "fine-tune", default)).Select(file => file.Id));
        Assert.Empty(await store.ListFilesAsync(10, after: null, "batch", default));

        Assert.Equal(Deletion.Deleted, await files.DeleteAsync(one.Id));
        Assert.Equal(Deletion.None, await files.DeleteAsync(one.Id));
        Assert.Null(await store.FindFileAsync(one.Id));
        Assert.True(File.Exists(files.PathOf(two)));
        Assert.Equal(Deletion.Deleted, await files.DeleteAsync(two.Id));
        Assert.False(File.Exists(files.PathOf(two)));
        Assert.True(File.Exists(files.PathOf(packed)));
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task Many_who_add_and_delete_the_same_content_leave_none_without_it(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore[] stores = kind == "SQLite" ? [test.Open()] : [test.Open(), test.Open()];
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async i =>
        {
            FileLibrary files = Library(test, stores[i % stores.Length], quota: null);
            for (int round = 0; round < 5; round++)
            {
                StoredFile file = await AddAsync(files, "abc", "a.txt");
                Assert.Equal("abc", File.ReadAllText(files.PathOf(file)));
                Assert.Equal(Deletion.Deleted, await files.DeleteAsync(file.Id));
            }
        }));
        Assert.Empty(Directory.EnumerateFiles(test["files"], "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task What_a_killed_server_left_is_collected_and_nothing_else()
    {
        using TestStore test = await TestStore.NewAsync("SQLite", server);
        FileLibrary files = Library(test, test.Open(), quota: null);
        await files.CollectAsync(); // There is no folder yet.
        StoredFile kept = await AddAsync(files, "abc", "a.txt");
        Directory.CreateDirectory(test["files/ff"]);
        File.WriteAllText(test["files/ff/ffff.txt"], "its row was not stored any more");
        File.WriteAllText(test["files/old.tmp"], "an upload that ended half-way");
        File.SetLastWriteTimeUtc(test["files/old.tmp"], DateTime.UtcNow.AddDays(-2));
        File.WriteAllText(test["files/new.tmp"], "one that is under way");
        await files.CollectAsync();
        Assert.Equal([files.PathOf(kept), test["files/new.tmp"]], Directory.EnumerateFiles(test["files"], "*", SearchOption.AllDirectories).Order());
    }

    [Fact]
    public async Task A_file_that_is_too_long_or_ends_half_way_leaves_nothing()
    {
        using TestStore test = await TestStore.NewAsync("SQLite", server);
        JobStore store = test.Open();
        Assert.Equal("the file has more than 2 bytes", (await Assert.ThrowsAsync<InvalidDataException>(() => AddAsync(Library(test, store, quota: null), "abc", "a.txt", most: 2))).Message);
        Assert.Equal("the file has more than 1 bytes", (await Assert.ThrowsAsync<InvalidDataException>(() => AddAsync(Library(test, store, quota: 1), "abc", "a.txt"))).Message);
        await Assert.ThrowsAsync<IOException>(() => Library(test, store, quota: null).ReceiveAsync(new Broken(), "a.txt", 100, default));
        Assert.Empty(Directory.EnumerateFiles(test["files"]));
        Assert.Empty(await store.ListFilesAsync(10, after: null, purpose: null, default));
    }

    [Fact]
    public async Task A_name_leads_nowhere_else()
    {
        using TestStore test = await TestStore.NewAsync("SQLite", server);
        FileLibrary files = Library(test, test.Open(), quota: null);
        foreach (string name in (string[])["../../x", "a./../../x", "a.\0", "a.jsonl/../x", "x." + new string('a', 300), "", "."])
        {
            StoredFile file = await AddAsync(files, "abc", name);
            Assert.Equal(test[$"files/ba/{Abc}"], files.PathOf(file));
        }
    }

    private static FileLibrary Library(TestStore test, JobStore store, long? quota)
    {
        var options = new ServiceOptions { Models = "", Data = "", Outputs = test["outputs"], Database = "", Files = test["files"], DiskQuota = quota };
        return new FileLibrary(store, options, new DiskQuota(options));
    }

    private static async Task<StoredFile> AddAsync(FileLibrary files, string text, string name, long most = 1000)
    {
        using ContentFolder.Received received = await files.ReceiveAsync(new MemoryStream(Encoding.UTF8.GetBytes(text)), name, most, default);
        return (await files.KeepAsync(received, name, "fine-tune"))!;
    }

    /// <summary>A client that goes away.</summary>
    private sealed class Broken : MemoryStream
    {
        private int reads;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => ++reads > 1 ? throw new IOException("gone") : new(1);
    }
}
