using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Nibble.Kernels.Runtime;

/// <summary>
/// A copy of TorchSharp's native binding that loads with the libstdc++ of Debian 12 and Ubuntu 22.04.
/// </summary>
/// <remarks>
/// The shipped file requires symbol version GLIBCXX_3.4.32, of which it uses one symbol in no relocation at all. The
/// dynamic linker only warns about a missing version that is marked weak (VER_FLG_WEAK in <c>vna_flags</c> of the ELF
/// section <c>.gnu.version_r</c>), so the copy differs from the original in that one flag. The NuGet cache is never touched.
/// </remarks>
internal static class CompatibleBinding
{
    private const string RequiredVersion = "GLIBCXX_3.4.32";
    private const uint VersionNeedSection = 0x6ffffffe; // SHT_GNU_verneed
    private const ushort Weak = 2;

    /// <summary>The path to load: <paramref name="original"/> where it loads as it is, otherwise that of the cached copy.</summary>
    public static string PathFor(string original)
    {
        byte[] image = File.ReadAllBytes(original);
        string key = Convert.ToHexStringLower(SHA256.HashData(image))[..16];
        if (!MarkWeak(image))
        {
            return original;
        }

        string folder = Path.Combine(CacheFolder(), key);
        string copy = Path.Combine(folder, Path.GetFileName(original));
        if (!File.Exists(copy) || new FileInfo(copy).Length != image.Length)
        {
            Directory.CreateDirectory(folder);
            string temporary = Path.Combine(folder, $".{Guid.NewGuid():N}");
            File.WriteAllBytes(temporary, image);
            File.Move(temporary, copy, overwrite: true); // Atomic: several processes may start at once.
        }

        return copy;
    }

    private static string CacheFolder()
    {
        string? cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string root = !string.IsNullOrEmpty(cache) ? cache
            : home.Length > 0 ? Path.Combine(home, ".cache")
            : Path.GetTempPath();
        return Path.Combine(root, "nibble", "libtorch");
    }

    /// <summary>Sets the weak flag on the required version in a 64-bit little-endian ELF image; false when it asks for none.</summary>
    internal static bool MarkWeak(Span<byte> image)
    {
        long sectionTable = BinaryPrimitives.ReadInt64LittleEndian(image[0x28..]);
        int sectionSize = BinaryPrimitives.ReadUInt16LittleEndian(image[0x3a..]);
        int sections = BinaryPrimitives.ReadUInt16LittleEndian(image[0x3c..]);
        for (int i = 0; i < sections; i++)
        {
            ReadOnlySpan<byte> section = image[(int)(sectionTable + (i * sectionSize))..];
            if (BinaryPrimitives.ReadUInt32LittleEndian(section[4..]) != VersionNeedSection)
            {
                continue;
            }

            int offset = (int)BinaryPrimitives.ReadInt64LittleEndian(section[0x18..]);
            int link = (int)BinaryPrimitives.ReadUInt32LittleEndian(section[0x28..]);
            ReadOnlySpan<byte> stringSection = image[(int)(sectionTable + (link * sectionSize))..];
            int strings = (int)BinaryPrimitives.ReadInt64LittleEndian(stringSection[0x18..]);
            return MarkWeak(image, offset, strings);
        }

        return false;
    }

    /// <summary>Walks the chain of Verneed records (16 bytes) and their Vernaux entries (16 bytes).</summary>
    private static bool MarkWeak(Span<byte> image, int need, int strings)
    {
        while (true)
        {
            int entries = BinaryPrimitives.ReadUInt16LittleEndian(image[(need + 2)..]);
            int entry = need + (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(need + 8)..]);
            for (int i = 0; i < entries; i++)
            {
                int name = strings + (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(entry + 8)..]);
                if (NameAt(image, name) == RequiredVersion)
                {
                    BinaryPrimitives.WriteUInt16LittleEndian(image[(entry + 4)..], Weak);
                    return true;
                }

                entry += (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(entry + 12)..]);
            }

            int next = (int)BinaryPrimitives.ReadUInt32LittleEndian(image[(need + 12)..]);
            if (next == 0)
            {
                return false;
            }

            need += next;
        }
    }

    private static string NameAt(ReadOnlySpan<byte> image, int offset)
    {
        ReadOnlySpan<byte> tail = image[offset..];
        return Encoding.ASCII.GetString(tail[..tail.IndexOf((byte)0)]);
    }
}
