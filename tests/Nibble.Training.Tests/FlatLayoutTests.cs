using Nibble.Kernels;
using Nibble.Training.Distributed;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

public class FlatLayoutTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    public void Every_element_belongs_to_one_rank_and_no_block_of_states_to_two(int ranks)
    {
        long[] sizes = [64, 1, 256, 70_000, 257, 1000, 3];
        var layout = new FlatLayout([.. sizes.Select((size, i) => new FlatParameter(size, i / 2))], ranks, bucketElements: 2000);
        Assert.True(layout.Buckets.Count > 1);
        int[][] owners = [.. sizes.Select(size => new int[size])];
        foreach (Bucket bucket in layout.Buckets)
        {
            Assert.Equal(bucket.Length, layout.Shares(bucket).Sum());
            for (int rank = 0; rank < ranks; rank++)
            {
                foreach (Slice slice in layout.SlicesOf(bucket, rank))
                {
                    Assert.Equal(0, slice.Start % AdamW.StateBlock);
                    Assert.InRange(slice.InShare + slice.Count, 1, layout.Shares(bucket)[rank]);
                    for (long i = slice.Start; i < slice.Start + slice.Count; i++)
                    {
                        owners[slice.Parameter][i]++;
                    }
                }
            }
        }

        Assert.All(owners, parameter => Assert.All(parameter, count => Assert.Equal(1, count)));
    }

    [Fact]
    public void A_bucket_waits_for_the_first_of_its_units_and_none_for_the_embedding()
    {
        var layout = new FlatLayout([.. new[] { 0, 1, 2, 13, 14, 14 }.Select(unit => new FlatParameter(256, unit))], ranks: 2, bucketElements: 512);
        Assert.Equal([("0", 0), ("1,2", 1), ("3,4", 13), ("5", 14)], Described(layout));
    }

    [Fact]
    public void What_comes_and_goes_is_of_one_unit_and_what_differs_in_dtype_lies_apart()
    {
        FlatParameter[] parameters =
        [
            new(256, 0), new(256, 1, ScalarType.BFloat16, Stays: false), new(256, 1, ScalarType.BFloat16, Stays: false), new(4, 1),
            new(256, 2, ScalarType.BFloat16, Stays: false), new(4, 2),
        ];
        Assert.Equal([("0", 0), ("3,5", 1), ("1,2", 1), ("4", 2)], Described(new FlatLayout(parameters, ranks: 2, bucketElements: 1 << 20)));
    }

    private static IEnumerable<(string, int)> Described(FlatLayout layout) =>
        layout.Buckets.Select(bucket => (string.Join(',', bucket.Places.Select(place => place.Parameter)), bucket.Unit));

    [Fact]
    public void Ranks_have_about_as_much_of_each_bucket()
    {
        var layout = new FlatLayout([new FlatParameter(100_000, 0)], ranks: 4, bucketElements: 1);
        Assert.Equal([25_088, 25_088, 25_088, 24_736], layout.Shares(layout.Buckets.Single()));
    }
}
