import com.amazon.randomcutforest.config.Precision;
import com.amazon.randomcutforest.config.TransformMethod;
import com.amazon.randomcutforest.parkservices.AnomalyDescriptor;
import com.amazon.randomcutforest.parkservices.ThresholdedRandomCutForest;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;

/** Values, one a line, on standard input; score and grade of each on standard output. Set up as OpenSearch sets up its forests. */
public class Forest {
    private static final int SHINGLE = 8;

    public static void main(String[] args) throws IOException {
        ThresholdedRandomCutForest forest = ThresholdedRandomCutForest.builder()
            .dimensions(SHINGLE).shingleSize(SHINGLE).internalShinglingEnabled(true)
            .numberOfTrees(30).sampleSize(256).timeDecay(0.0001).outputAfter(32).initialAcceptFraction(0.125)
            .precision(Precision.FLOAT_32).anomalyRate(0.005).transformMethod(TransformMethod.NORMALIZE)
            .autoAdjust(true).alertOnce(true).randomSeed(0L).build();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder out = new StringBuilder();
        long at = 0;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            AnomalyDescriptor found = forest.process(new double[] { Double.parseDouble(line) }, at++);
            out.append(found.getRCFScore()).append(' ').append(found.getAnomalyGrade()).append('\n');
        }
        System.out.print(out);
    }
}
