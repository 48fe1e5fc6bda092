using System.Globalization;
using System.Text.RegularExpressions;

namespace Nibble.Kernels.Cuda;

/// <summary>The compiled kernels for chips from one generation on: PTX, which the driver translates for the chip at hand.</summary>
/// <param name="Name">Resource that holds it: <c>nibble.sm_80.ptx</c>.</param>
/// <param name="ComputeCapability">The oldest chip that it runs on: 80.</param>
internal sealed partial record CudaImage(string Name, int ComputeCapability)
{
    /// <summary>The images of this build; none where it has no compiled kernels.</summary>
    public static IReadOnlyList<CudaImage> OfBuild { get; } =
    [
        .. typeof(CudaImage).Assembly.GetManifestResourceNames().Select(name => ResourceName().Match(name)).Where(match => match.Success)
            .Select(match => new CudaImage(match.Value, int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture))),
    ];

    /// <summary>The newest image that is not newer than the chip; null where there is none.</summary>
    public static CudaImage? Best(IEnumerable<CudaImage> images, int computeCapability) =>
        images.Where(image => image.ComputeCapability <= computeCapability).MaxBy(image => image.ComputeCapability);

    /// <summary>The text, ended by a zero as the driver wants it.</summary>
    public byte[] Read()
    {
        using Stream stream = typeof(CudaImage).Assembly.GetManifestResourceStream(Name)!;
        var text = new byte[stream.Length + 1];
        stream.ReadExactly(text, 0, (int)stream.Length);
        return text;
    }

    [GeneratedRegex(@"^nibble\.sm_(\d+)\.ptx$")]
    private static partial Regex ResourceName();
}
